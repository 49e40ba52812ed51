"""Published evaluation protocols, each a description; `evaluate` is the one procedure that carries them out.

* SYSU-MM01 (Wu et al., ICCV 2017, and its MATLAB evaluation): all infrared images query (cameras 3, 6); the gallery is
  1 or 10 visible images an identity and camera, of cameras 1, 2, 4, 5 (all search) or 1, 2 (indoor); camera 3 skips
  camera 2, which looks at the same place; CMC counts the first image of each identity, mAP and mINP all; 10 draws.
* RegDB: the images of either modality query those of the other, nothing excluded; a model and a set of features a
  trial.
* LLCM (Zhang and Wang, CVPR 2023, and its public code): all images of a modality query one image of each identity and
  camera of the other, same identity and camera excluded, CMC counts the first image of each identity; 10 draws.
* MARS (Zheng et al., ECCV 2016): query tracklets against a gallery that holds them too, same identity and camera
  excluded, identity -1 is junk, 0 distracts; AP by trapezoids, as in its evaluation. Features are of tracklets.
* Duke-Video-ReID (Wu et al., CVPR 2018): the same of its lists; the gallery does not hold the queries.
* VeRi-776 (Liu et al., ECCV 2016): same identity and camera excluded; AP by steps.
* Market-1501 (Zheng et al., ICCV 2015): same identity and camera excluded, identity -1 is junk, 0 distracts; AP by
  trapezoids, as in its MATLAB evaluation. Much public code takes steps instead.
* ATRW plain (Li et al., ACM MM 2020): each image queries all others; images of the identity from the same camera
  within 3 frames are left out; identities that one camera saw and those that several saw are scored apart.
* open-set: as Market-1501 with AP by steps, and queries without a match are attempts to be turned away
  (`crossreid.evaluation.open_set`).
* cross-modal (anybody's images): given queries against a given gallery; images that are both query by modality
  (infrared against visible), or, where there is one modality only, each against all others.
* cross-camera: the same, but all entries from the query's camera are left out, whoever they show: where a camera stands for
  a sighting, whatever else was seen then shares its light and its place with the query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from crossreid.data.records import INFRARED, VISIBLE, DataError, Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.distances import METRICS, distance_blocks
from crossreid.evaluation.draws import (
    DRAWS,
    Permutations,
    check_against,
    draw_gallery,
    draw_name,
    groups_of,
)
from crossreid.evaluation.exclusion import (
    NO_EXCLUSION,
    SAME_CAMERA,
    SAME_IDENTITY_AND_CAMERA,
    Counting,
    Exclusion,
    same_camera_within,
    same_place,
)
from crossreid.evaluation.features import Features
from crossreid.evaluation.open_set import open_set_rates
from crossreid.evaluation.ranking import Gallery, Ranking, concatenate
from crossreid.evaluation.reranking import Blocks, Normalise, Reranking, normalised_blocks, reranked_blocks
from crossreid.evaluation.scores import Score, trial_score


@dataclass(frozen=True)
class Setting:
    """Who queries whom. `None` stands for: modality, as the roles say; cameras, any; shots, every image;
    `several_cameras` (whether queries are of identities that several cameras saw, or one), either."""

    name: str
    query: Modality | None = None
    gallery: Modality | None = None
    query_cameras: tuple[int, ...] | None = None
    gallery_cameras: tuple[int, ...] | None = None
    shots: int | None = None
    several_cameras: bool | None = None


@dataclass(frozen=True)
class Protocol:
    """A published protocol. `draw` is its own draw of the gallery (None: every image), `permuted` says whether there
    are official permutations to take instead. `sets` are the comparisons of images and videos that it is scored by
    (`crossreid.evaluation.sets`), `first_frame` says whether the image of a tracklet is its first frame alone."""

    name: str
    settings: tuple[Setting, ...]
    exclusion: Exclusion
    counting: Counting
    draw: str | None = None
    permuted: bool = False
    trapezoid: bool = False
    junk: tuple[str, ...] = ()
    open_set: bool = False
    sets: tuple[str, ...] = ("i2i",)
    first_frame: bool = False


_TO_GALLERY = (Setting("query to gallery"),)
_JUNK = ("-1",)
_FILMED = ("i2v", "v2v")
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "sysu-mm01",
            tuple(
                Setting(f"{mode}, {name}", INFRARED, VISIBLE, (3, 6), cameras, shots)
                for mode, cameras in (("all", (1, 2, 4, 5)), ("indoor", (1, 2)))
                for name, shots in (("single-shot", 1), ("multi-shot", 10))
            ),
            same_place((3, 2)),
            "first image of each identity",
            "seeded",
            permuted=True,
        ),
        Protocol(
            "regdb",
            (
                Setting("visible to thermal", VISIBLE, INFRARED),
                Setting("thermal to visible", INFRARED, VISIBLE),
            ),
            NO_EXCLUSION,
            "every image",
        ),
        Protocol(
            "llcm",
            (
                Setting("infrared to visible", INFRARED, VISIBLE, shots=1),
                Setting("visible to infrared", VISIBLE, INFRARED, shots=1),
            ),
            SAME_IDENTITY_AND_CAMERA,
            "first image of each identity",
            "random-choice",
        ),
        *(
            Protocol(
                name,
                _TO_GALLERY,
                SAME_IDENTITY_AND_CAMERA,
                "every image",
                trapezoid=trapezoid,
                junk=_JUNK,
                sets=sets,
                first_frame=sets == _FILMED,
            )
            for name, trapezoid, sets in (
                ("mars", True, _FILMED),
                ("duke-video", True, _FILMED),
                ("veri-776", False, ("i2v", "v2v", "i2i", "v2i")),
                ("market-1501", True, ("i2i",)),
            )
        ),
        Protocol(
            "atrw-plain",
            (
                Setting("single-camera", several_cameras=False),
                Setting("cross-camera", several_cameras=True),
            ),
            same_camera_within(3),
            "every image",
            junk=_JUNK,
        ),
        Protocol("open-set", _TO_GALLERY, SAME_IDENTITY_AND_CAMERA, "every image", junk=_JUNK, open_set=True),
        Protocol("cross-modal", _TO_GALLERY, SAME_IDENTITY_AND_CAMERA, "every image"),
        Protocol("cross-camera", _TO_GALLERY, SAME_CAMERA, "every image"),
    )
}

Named = TypeVar("Named")

_BLOCK = 1 << 24  # distances to all candidates that are held at a time


def evaluate(
    features: Features,
    protocol: str,
    *,
    metric: str = "euclidean",
    permutations: Permutations | None = None,
    draw: str | None = None,
    trials: int = 10,
    seed: int = 0,
    trial: int | None = None,
    settings: Sequence[str] | None = None,
    rerank: Reranking | None = None,
    normalise: Normalise | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float64,
) -> list[Score]:
    """Scores of features by a protocol of `PROTOCOLS`, one a setting (or of the named `settings`, in their order
    there).

    `permutations` are SYSU-MM01's; where given, the gallery is drawn by them, else by the protocol's own draw with
    `seed` (SYSU-MM01: 'seeded', LLCM: 'random-choice'); that is 'official', the default of `draw`, which may be
    'seeded' or 'random-choice' instead. Every score names the draw it comes from. `trials` counts the draws. `trial` is
    the number of the one trial that the features are of (RegDB; 1 where not given). Any subset of the identities will
    do. Distances are taken in `dtype`, on `device`, once for each pair of images however many trials and settings share
    it. `rerank` and `normalise` (by 'camera' or 'modality') are those of `crossreid.evaluation.reranking`, each trial's
    gallery on its own; both are off unless given, and printed with the score.
    Raises `CrossreidError` for an unknown name, `DataError` where the features cannot answer: no query or gallery image
    of a setting, permutations that do not fit, no query with a match.
    """
    plan = _named(PROTOCOLS, protocol, "protocol")
    chosen = [
        _named({s.name: s for s in plan.settings}, n, "setting") for n in settings or [s.name for s in plan.settings]
    ]
    if metric not in METRICS:
        raise CrossreidError(f"unknown metric '{metric}'; choose one of: {', '.join(METRICS)}.")
    if draw is not None and draw not in DRAWS:
        raise CrossreidError(f"unknown gallery draw '{draw}'; choose one of: {', '.join(DRAWS)}.")
    if trials < 1:
        raise CrossreidError(f"expected at least 1 trial, found {trials}.")
    if plan.draw is not None:
        official = "official" if plan.permuted and permutations is not None else plan.draw
        draw = official if draw in (None, "official") else draw
    if draw == "official" and permutations is not None:
        cameras = {c for s in chosen for c in (*(s.query_cameras or ()), *(s.gallery_cameras or ()))}
        check_against(permutations, features, sorted(cameras))
    tensor = torch.from_numpy(features.embeddings).to(device, dtype)

    results: dict[str, Score] = {}
    pending = {setting.name: _sides(features, setting, plan) for setting in chosen}
    while pending:
        # Settings with the same queries share their distances.
        queries = next(iter(pending.values()))[0]
        together = {name: rows for name, (own, rows) in pending.items() if np.array_equal(own, queries)}
        for name in together:
            del pending[name]
        galleries = {}
        for setting in (s for s in chosen if s.name in together):
            rows = together[setting.name]
            if setting.shots is None or draw is None:
                galleries[setting.name] = {trial or 1: rows}
                continue
            groups = groups_of(features, rows)
            galleries[setting.name] = {
                number + 1: draw_gallery(
                    groups,
                    draw,
                    setting.shots,
                    number,
                    seed=seed,
                    cameras=setting.gallery_cameras,
                    permutations=permutations,
                )
                for number in range(trials)
            }
        if rerank is None and normalise is None:
            rankings = _rank(features, tensor, queries, galleries, plan, metric)
        else:
            rankings = _rank_adjusted(features, tensor, queries, galleries, plan, metric, rerank, normalise)
        for name, by_trial in rankings.items():
            drawn = draw_name(draw, seed) if plan.draw is not None and draw is not None else "every image"
            results[name] = Score(
                protocol=plan.name,
                setting=name,
                metric=metric,
                exclusion=plan.exclusion.description,
                gallery_draw=drawn,
                counting=plan.counting,
                trials=tuple(
                    trial_score(ranking, number, open_set_rates(ranking) if plan.open_set else None)
                    for number, ranking in by_trial.items()
                ),
                average_precision="trapezoids" if plan.trapezoid else "steps",
                re_ranked="no" if rerank is None else str(rerank),
                normalised="no" if normalise is None else normalise,
            )
    return [results[setting.name] for setting in chosen]


def _rank(
    features: Features,
    tensor: torch.Tensor,
    queries: np.ndarray,
    galleries: dict[str, dict[int, np.ndarray]],
    plan: Protocol,
    metric: str,
) -> dict[str, dict[int, Ranking]]:
    """Rankings by setting and trial of the same queries against several galleries."""
    pool = np.unique(np.concatenate([rows for drawn in galleries.values() for rows in drawn.values()]))
    prepared = {
        (name, number): (
            _gallery(features, queries, rows, plan, tensor.device),
            None if np.array_equal(rows, pool) else np.searchsorted(pool, rows),
        )
        for name, drawn in galleries.items()
        for number, rows in drawn.items()
    }
    parts: dict[tuple[str, int], list[Ranking]] = {key: [] for key in prepared}
    for at, matrix in distance_blocks(
        tensor[queries], tensor[pool], metric, rows=max(16, min(256, _BLOCK // len(pool)))
    ):
        for key, (gallery, places) in prepared.items():
            parts[key].append(gallery.rank(at, matrix, columns=places, nearest=plan.open_set))
    return {name: {number: concatenate(parts[name, number]) for number in drawn} for name, drawn in galleries.items()}


def _rank_adjusted(
    features: Features,
    tensor: torch.Tensor,
    queries: np.ndarray,
    galleries: dict[str, dict[int, np.ndarray]],
    plan: Protocol,
    metric: str,
    rerank: Reranking | None,
    normalise: Normalise | None,
) -> dict[str, dict[int, Ranking]]:
    """The same where what a gallery holds changes its distances: each gallery by itself."""

    def ranking(rows: np.ndarray) -> Ranking:
        def blocks() -> Blocks:
            if rerank is None:
                return distance_blocks(tensor[queries], tensor[rows], metric)
            return reranked_blocks(tensor[queries], tensor[rows], rerank, metric)

        given = blocks()
        if normalise is not None:
            groups = features.cameras if normalise == "camera" else features.modalities
            given = normalised_blocks(blocks, groups[queries], groups[rows])
        gallery = _gallery(features, queries, rows, plan, tensor.device)
        return concatenate(gallery.rank(at, block, nearest=plan.open_set) for at, block in given)

    return {name: {number: ranking(rows) for number, rows in drawn.items()} for name, drawn in galleries.items()}


def _gallery(
    features: Features, queries: np.ndarray, rows: np.ndarray, plan: Protocol, device: torch.device
) -> Gallery:
    """The gallery of some rows to the queries of others; none finds itself, nor the tracklet that it is of."""
    frames, tracklets = features.frames, features.tracklets
    assert frames is not None
    assert tracklets is not None
    entries = np.arange(len(features))
    if (tracklets != "").any():
        _, films = np.unique(tracklets, return_inverse=True)
        entries = np.where(tracklets != "", len(features) + films.reshape(-1), entries)
    itself = entries[queries][:, None] == entries[rows] if np.isin(entries[queries], entries[rows]).any() else None
    return Gallery.of(
        len(queries),
        len(rows),
        device,
        features.identities[queries],
        features.identities[rows],
        features.cameras[queries],
        features.cameras[rows],
        frames[queries],
        frames[rows],
        exclusion=plan.exclusion,
        junk=itself,
        counting=plan.counting,
        trapezoid=plan.trapezoid,
    )


def _sides(features: Features, setting: Setting, plan: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Rows that query and rows that may be drawn into the gallery."""
    if setting.query is None or setting.gallery is None:
        query, gallery = _sides_by_role(features)
    else:
        query, gallery = features.modalities == setting.query, features.modalities == setting.gallery
    known = ~np.isin(features.identities, plan.junk)
    query, gallery = query & known, gallery & known
    if setting.several_cameras is not None:
        query = query & (_seen_by_several(features) == setting.several_cameras)
    if setting.query_cameras is not None:
        query = query & np.isin(features.cameras, setting.query_cameras)
    if setting.gallery_cameras is not None:
        gallery = gallery & np.isin(features.cameras, setting.gallery_cameras)
    for side, mask, modality, cameras in (
        ("query", query, setting.query, setting.query_cameras),
        ("gallery", gallery, setting.gallery, setting.gallery_cameras),
    ):
        if not mask.any():
            kind = f"{modality.name.lower()} " if modality is not None else ""
            source = f" of cameras {', '.join(map(str, cameras))}" if cameras else ""
            raise DataError(
                f"{plan.name}, {setting.name}: the {side} is empty; expected {kind}images{source} among the "
                f"{len(features)} given."
            )
    return np.flatnonzero(query), np.flatnonzero(gallery)


def _seen_by_several(features: Features) -> np.ndarray:
    """`(N,)` bool: whether several cameras saw the identity of an image."""
    names, codes = np.unique(features.identities, return_inverse=True)
    pairs = np.unique(np.stack([codes.reshape(-1), features.cameras]), axis=1)
    return np.bincount(pairs[0], minlength=len(names))[codes.reshape(-1)] > 1


def _sides_by_role(features: Features) -> tuple[np.ndarray, np.ndarray]:
    query, gallery, both = (features.roles == role for role in ("query", "gallery", "both"))
    if len(np.unique(features.modalities[both])) < 2:
        return query | both, gallery | both
    return query | (both & (features.modalities == INFRARED)), gallery | (both & (features.modalities == VISIBLE))


def _named(known: Mapping[str, Named], name: str, what: str) -> Named:
    if name not in known:
        raise CrossreidError(f"unknown {what} '{name}'; choose one of: {', '.join(known)}.")
    return known[name]
