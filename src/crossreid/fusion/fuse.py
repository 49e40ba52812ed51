"""Embeddings of the same images by several networks, and local features, fused and scored by a protocol beside each alone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.embedding_files import read_about
from crossreid.evaluation.joining import Say
from crossreid.evaluation.procedure import chosen_settings, evaluate
from crossreid.evaluation.protocols import Protocol, Setting
from crossreid.evaluation.scores import Score
from crossreid.fusion.aligning import Aligned, read_aligned
from crossreid.fusion.calibrated import CalibratedFusion
from crossreid.fusion.calibration_pairs import all_pairs, check_identities, listed_pairs
from crossreid.fusion.local_matching import LocalMatcher, LocalScores, make_matcher
from crossreid.fusion.rankings import (
    Combine,
    Reorder,
    alone,
    by_local_score,
    by_rank,
    by_rank_with_local,
    calibrated,
    calibrated_with_local,
    compare_by,
    concatenated,
    in_two_stages,
    mean_of_cosines,
)
from crossreid.processors import processors
from crossreid.runs.folders import titles_of

SHORTLIST = 100


@dataclass(frozen=True, eq=False, slots=True)
class Fused:
    """What a fusion was found to be worth.

    scores: by way of ranking, each score alone and each fusion, one a setting of the protocol; fusions: by the same name the
    curves and weights of those that were calibrated; compared: pairs of images whose local features were, calibration
    included; seconds: of `loading`, `calibrating` and `ranking`.
    """

    scores: Mapping[str, list[Score]]
    fusions: Mapping[str, CalibratedFusion]
    compared: int
    seconds: Mapping[str, float]


def fuse(
    embeddings: Sequence[Path | str],
    protocol: str,
    calibrate_on: Sequence[Path | str],
    *,
    galleries: Sequence[Path | str] = (),
    calibration_galleries: Sequence[Path | str] = (),
    settings: Sequence[str] | None = None,
    learn_weights: bool = False,
    local: str | LocalMatcher | None = None,
    local_options: Mapping[str, Any] | None = None,
    images: Path | str | None = None,
    calibration_images: Path | str | None = None,
    shortlist: int = SHORTLIST,
    cache: Path | str | None = None,
    workers: int | None = None,
    splits: Path | str | None = None,
    draw: str | None = None,
    trials: int = 10,
    seed: int = 0,
    say: Say | None = None,
    advance: Callable[[int, int], object] = lambda done, total: None,
) -> Fused:
    """Fuse several scores of the same pairs, and score each alone and every fusion by a protocol: `crossreid fuse`.

    Args:
        embeddings: files or folders of embeddings of the same images, as `crossreid.rank` takes them, one a network; one
            suffices with `local`. Images are matched by their paths. Where no roles are given, infrared images query
            visible ones or, of one modality, each all others.
        calibrate_on: embeddings by the same networks in the same order, of images of other identities.
        galleries: where query and gallery are in files of their own, the galleries, one a network;
            `calibration_galleries` likewise.
        settings: those of the protocol to score by; all by default.
        learn_weights: also fuse with weights that a logistic regression finds on the calibration pairs.
        local: `sift`, `lightglue` or another local matcher by name or made already, with `local_options` by name.
        images: folder that the paths are relative to; `calibration_images` likewise, the same by default.
        shortlist: candidates of each query whose local features are compared.
        cache: folder in which local features are kept; by default they are made each time.
        workers: threads that compare local features; as many as there are cores by default.
        splits, draw, trials, seed: as `crossreid.rank` takes them; `seed` also draws calibration pairs where there are
            more than four million.
        say: called with lines about what was taken for what; by default they are warnings.
        advance: called with a number of pairs of images that were compared by local features, and how many there are to
            be as far as is known.

    Raises:
        CrossreidError: a name that is not known, or nothing to fuse.
        DataError: files that are not of the same images, that the protocol cannot score or that cannot calibrate.
    """
    say = say or (lambda line: warnings.warn(line, stacklevel=3))
    files, known_files, *sides = (
        [Path(one) for one in paths] for paths in (embeddings, calibrate_on, galleries, calibration_galleries)
    )
    _check(files, known_files, local, local_options, shortlist)
    plan, named = chosen_settings(protocol, settings)
    chosen = [setting for setting in plan.settings if setting in named]
    matcher = make_matcher(local, local_options) if isinstance(local, str) else local
    start = time.perf_counter()
    tested = read_aligned(files, sides[0], protocol, say=say)
    known = read_aligned(known_files, sides[1], protocol, say=say)
    _check_networks(files, known_files, tested, known)
    if line := check_identities(tested.features, known.features):
        say(line)
    names = [*titles_of(files).values(), *([] if matcher is None else [local if isinstance(local, str) else "local"])]
    loaded = time.perf_counter()
    roots = ((tested, images), (known, calibration_images or images))
    locals_ = None if matcher is None else [_local_scores(*each, matcher, cache, workers, advance) for each in roots]
    fusions, ways = _ways(names, tested, known, plan, chosen, locals_, shortlist, seed, learn_weights)
    calibrated_at = time.perf_counter()
    permutations = load_permutations(Path(splits) / "rand_perm_cam.mat") if splits is not None else None
    scores = {
        way: evaluate(
            tested.features, protocol, metric=_metric(way, names), permutations=permutations, draw=draw, trials=trials,
            seed=seed, settings=settings, compare=compare_by(tested.features, tested.embeddings, plan, combine),
        )
        for way, combine in ways.items()
    }  # fmt: skip
    moments = (start, loaded, calibrated_at, time.perf_counter())
    seconds = dict(zip(("loading", "calibrating", "ranking"), np.diff(moments).tolist(), strict=True))
    return Fused(scores, fusions, sum(one.compared for one in locals_ or ()), seconds)


def _metric(way: str, names: Sequence[str]) -> str:
    return "cosine" if way in names else "fused"


def _local_scores(
    aligned: Aligned, root: Path | str | None, matcher: LocalMatcher, cache: Path | str | None, workers: int | None,
    advance: Callable[[int, int], object],
) -> LocalScores:  # fmt: skip
    folders = {"root": None if root is None else Path(root), "cache": None if cache is None else Path(cache)}
    return LocalScores(aligned, matcher, **folders, workers=workers or processors(), advance=advance)


def _ways(
    names: list[str], tested: Aligned, known: Aligned, plan: Protocol, settings: Sequence[Setting],
    locals_: Sequence[LocalScores] | None, size: int, seed: int, learn_weights: bool,
) -> tuple[dict[str, CalibratedFusion], dict[str, Combine]]:  # fmt: skip
    """Calibrated fusions, and all ways of ranking, by what tables call them."""
    networks = names[: len(tested.embeddings)]
    ways: dict[str, Combine] = {name: alone(position) for position, name in enumerate(networks)}
    fusions: dict[str, CalibratedFusion] = {}
    pairs = all_pairs(known, plan, settings, seed)
    first = pairs.fitted(networks, learn_weights=False)
    if len(networks) > 1:
        ways |= {"mean of cosines": mean_of_cosines, "concatenation": concatenated(tested.embeddings)}
        ways |= {"reciprocal ranks": by_rank, "calibrated": calibrated(first)}
        fusions["calibrated"] = first
        if learn_weights:
            fusions["calibrated, learned weights"] = pairs.fitted(networks, learn_weights=True)
            ways["calibrated, learned weights"] = calibrated(fusions["calibrated, learned weights"])
    if locals_ is None:
        return fusions, ways
    local, on_known = locals_
    name = names[-1]
    listed = listed_pairs(known, plan, settings, seed, first=calibrated(first), size=size, local=on_known)
    orders: dict[str, Reorder] = {f"{name} alone": by_local_score, f"reciprocal ranks with {name}": by_rank_with_local}
    for way, learned in ((f"calibrated with {name}", False), (f"calibrated with {name}, learned weights", True)):
        if learn_weights or not learned:
            fusions[way] = listed.fitted(names, learn_weights=learned)
            orders[way] = calibrated_with_local(fusions[way])
    ways |= {way: in_two_stages(calibrated(first), size, local, order) for way, order in orders.items()}
    return fusions, ways


def _check(
    files: Sequence[Path], calibration: Sequence[Path], local: object, local_options: object, shortlist: int
) -> None:
    if len(files) < (1 if local is not None else 2):
        raise CrossreidError(
            f"{len(files)} embeddings cannot be fused: expected those of two networks, or of one and a local matcher "
            "(--local sift)."
        )
    if len(calibration) != len(files):
        raise CrossreidError(
            f"{len(files)} embeddings and {len(calibration)} to calibrate on: expected --calibrate-on for each, in the same "
            "order, by the same network on images of other identities."
        )
    if len({path.resolve() for path in files}) < len(files):
        raise CrossreidError("the same embeddings are named twice; a score fused with itself is itself.")
    if local_options and local is None:
        raise CrossreidError("--local-option is for a local matcher; name one with --local.")
    if local_options and not isinstance(local, str):
        raise CrossreidError("local_options are for a matcher given by name; this one is already constructed.")
    if shortlist < 1:
        raise CrossreidError(f"--shortlist {shortlist}: expected at least 1 candidate per query.")


def _check_networks(files: Sequence[Path], calibration: Sequence[Path], tested: Aligned, known: Aligned) -> None:
    """Raise `CrossreidError` where embeddings and what they are calibrated on are not of one network, as far as files say."""
    order = "expected --calibrate-on in the order of the embeddings, by the same networks."
    for path, other, ours, theirs in zip(files, calibration, tested.embeddings, known.embeddings, strict=True):
        if ours.shape[1] != theirs.shape[1]:
            raise CrossreidError(
                f"{path} has {ours.shape[1]} dimensions and {other}, to calibrate on, {theirs.shape[1]}: {order}"
            )
        if path.is_dir() and other.is_dir() and read_about(path)["model"] != read_about(other)["model"]:
            raise CrossreidError(f"{path} and {other}, to calibrate on, were embedded by different networks: {order}")
