"""Scores of embeddings that other tools made: files of queries and of gallery, or SYSU-MM01's MATLAB arrangement."""

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
    """Rank a gallery by embeddings of any tool, and score it by a protocol: what `crossreid rank` does.

    Args:
        queries: file of the query embeddings, as `crossreid.evaluation.arrays` describes them, or a folder that
            `crossreid embed` wrote; `gallery` likewise.
        settings: those of the protocol to score by; all by default.
        metric: `euclidean`, of the embeddings as they are, or `cosine`.
        splits: folder with SYSU-MM01's rand_perm_cam.mat.
        draw, trials, seed: of the gallery, where the protocol draws it, as `crossreid.evaluation.procedure` takes them.
        rerank: `k-reciprocal` or `query-expansion`, with `options` by name; or a re-ranking made already.
        normalise: standardise distances by `camera` or `modality`.
        precision: of the distances, float64, or float32 for half the memory.
        leave_self_out: a query does not find a gallery entry of its identity and its very embedding.
        say: called with lines about what was taken for what; by default they are warnings.

    Returns:
        The scores, one per setting, and the seconds of `loading` and `ranking`.

    Raises:
        CrossreidError: a name that is not known, or a device that is not there.
        DataError: a file that cannot be read, or embeddings that the protocol cannot score.
    """
    if options and not isinstance(rerank, str):
        raise CrossreidError("--option is of a re-ranking; name one with --rerank.")
    if isinstance(rerank, str):
        rerank = make_reranking(rerank, dict(options or {}))
    if normalise not in (None, "camera", "modality"):
        raise CrossreidError(f"--normalise {normalise!r}: expected camera or modality.")
    if precision not in ("float32", "float64"):
        raise CrossreidError(f"precision '{precision}': expected float32 or float64.")
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise CrossreidError(f"device '{device}': there is no GPU that this PyTorch can use; choose cpu.")
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
    """The score of features that another tool wrote in SYSU-MM01's official MATLAB arrangement.

    Args:
        features: folder of NAME_cam1.mat ... NAME_cam6.mat.
        splits: folder that holds test_id.txt or .mat and rand_perm_cam.mat.
        mode: `all` or `indoor` search; `shots`: 1 or 10 gallery images per identity and camera.

    Raises:
        CrossreidError: another protocol, mode or number of shots, or no `splits`.
        DataError: files that cannot be read or do not fit.
    """
    if protocol != "sysu-mm01":
        raise CrossreidError(f"--protocol {protocol!r}: features in the MATLAB arrangement exist for sysu-mm01 only.")
    if splits is None:
        raise CrossreidError(
            "--features needs --splits DIR, the folder that holds test_id.txt or .mat and rand_perm_cam.mat."
        )
    score = evaluate_sysu_features(features, splits, mode=mode, shots=shots, metric=metric)
    asked = score.valid_queries + score.skipped_queries
    return replace(score, official=asked == describe(protocol).official["test infrared images"])
