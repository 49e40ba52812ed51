"""Score embeddings of other tools: files of queries and gallery, or SYSU-MM01's MATLAB layout."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossreid.data.catalogue import describe
from crossreid.errors import CrossreidError
from crossreid.evaluation.arrays import read_side
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.joining import Say, join
from crossreid.evaluation.matlab import evaluate_sysu_features
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.reranking_options import Reranking, make_reranking
from crossreid.evaluation.scores import Score


def rank(
    queries: Path,
    gallery: Path,
    protocol: str,
    *,
    settings: Sequence[str] | None = None,
    metric: str = "euclidean",
    splits: Path | None = None,
    draw: str | None = None,
    trials: int = 10,
    seed: int = 0,
    rerank: Reranking | str | None = None,
    options: Mapping[str, Any] | None = None,
    normalise: str | None = None,
    device: str = "cpu",
    precision: str = "float64",
    leave_self_out: bool = False,
    say: Say | None = None,
) -> tuple[list[Score], dict[str, float]]:
    """Rank a gallery by any tool's embeddings, and score it by a protocol, as `crossreid rank` does.

    Args:
        queries: file of the query embeddings, as described in `crossreid.evaluation.arrays`, or a folder that
            `crossreid embed` wrote; `gallery` likewise.
        settings: settings of the protocol to score by; all by default.
        metric: `euclidean`, on the embeddings as they are, or `cosine`.
        splits: folder with SYSU-MM01's rand_perm_cam.mat.
        draw, trials, seed: for the gallery, if the protocol draws it, as in `crossreid.evaluation.procedure`.
        rerank: `k-reciprocal` or `query-expansion`, with `options` by name; or a re-ranking object.
        normalise: standardise distances by `camera` or `modality`.
        precision: of the distances: float64, or float32 for half the memory.
        leave_self_out: ignore gallery entries with the query's identity and identical embedding.
        say: called with lines on how the input was interpreted; by default they are warnings.

    Returns:
        The scores, one per setting, and the seconds of `loading` and `ranking`.

    Raises:
        CrossreidError: an unknown name, or a missing device.
        DataError: a file cannot be read, or the protocol cannot score the embeddings.
    """
    if options and not isinstance(rerank, str):
        raise CrossreidError("--option applies to re-ranking; name one with --rerank.")
    if isinstance(rerank, str):
        rerank = make_reranking(rerank, dict(options or {}))
    if normalise not in (None, "camera", "modality"):
        raise CrossreidError(f"--normalise {normalise!r}: expected camera or modality.")
    if precision not in ("float32", "float64"):
        raise CrossreidError(f"precision '{precision}': expected float32 or float64.")
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise CrossreidError(f"device '{device}': this PyTorch can use no GPU; choose cpu.")
    start = time.perf_counter()
    features = join(
        read_side(Path(queries)), read_side(Path(gallery)), protocol, leave_self_out=leave_self_out, say=say or _warn
    )
    permutations = load_permutations(Path(splits) / "rand_perm_cam.mat") if splits is not None else None
    loaded = time.perf_counter()
    scores = evaluate(
        features,
        protocol,
        metric=metric,
        permutations=permutations,
        draw=draw,
        trials=trials,
        seed=seed,
        settings=settings,
        rerank=rerank,
        normalise=normalise,  # type: ignore[arg-type]
        device=device,
        dtype=precision,
    )
    if leave_self_out:
        itself = ("" if score.exclusion == "none" else f"{score.exclusion}; " for score in scores)
        scores = [replace(s, exclusion=f"{rule}the query itself") for s, rule in zip(scores, itself, strict=True)]
    return scores, {"loading": loaded - start, "ranking": time.perf_counter() - loaded}


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=4)


def evaluate_features(
    features: Path, protocol: str, splits: Path | None, *, mode: str = "all", shots: int = 1, metric: str = "euclidean"
) -> Score:
    """Score features that another tool wrote in SYSU-MM01's official MATLAB layout.

    Args:
        features: folder of NAME_cam1.mat ... NAME_cam6.mat.
        splits: folder that holds test_id.txt or .mat and rand_perm_cam.mat.
        mode: `all` or `indoor` search; `shots`: 1 or 10 gallery images per identity and camera.

    Raises:
        CrossreidError: another protocol, mode or number of shots, or no `splits`.
        DataError: files cannot be read or do not fit.
    """
    if protocol != "sysu-mm01":
        raise CrossreidError(f"--protocol {protocol!r}: features in the MATLAB layout exist only for sysu-mm01.")
    if splits is None:
        raise CrossreidError(
            "--features needs --splits DIR, the folder that holds test_id.txt or .mat and rand_perm_cam.mat."
        )
    score = evaluate_sysu_features(features, splits, mode=mode, shots=shots, metric=metric)
    asked = score.valid_queries + score.skipped_queries
    return replace(score, official=asked == describe(protocol).official["test infrared images"])
