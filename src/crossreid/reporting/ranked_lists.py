"""Ranked lists: the nearest gallery images of queries, correct and wrong, for queries chosen by rule, not by hand."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from crossreid.data.records import DataError, Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.distances import distances
from crossreid.evaluation.draws import Permutations, draw_gallery, draw_name, groups_of
from crossreid.evaluation.features import Features
from crossreid.evaluation.measures import Ranking
from crossreid.evaluation.procedure import draw_of
from crossreid.evaluation.protocols import PROTOCOLS, Protocol
from crossreid.evaluation.ranking import rank_embeddings
from crossreid.evaluation.sides import sides_by_role

_SIDE = 160  # pixels: the longer side of a thumbnail
_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG and what it shows."""

    jpeg: bytes
    width: int
    height: int
    identity: str
    camera: int
    modality: Modality


@dataclass(frozen=True)
class Hit:
    """One gallery image of a list."""

    thumbnail: Thumbnail
    distance: float
    right: bool


@dataclass(frozen=True)
class RankedList:
    """A query and the nearest of the `kept` gallery images, nearest first.

    `row` is the query's row in the features; `first_right` the 1-based rank of its first correct match among those
    kept, `matches` the number of correct ones. `place` of `queries` says how hard the query is: 1 is the easiest.
    """

    query: Thumbnail
    hits: tuple[Hit, ...]
    row: int
    first_right: int
    matches: int
    kept: int
    place: int
    queries: int
    metric: str
    gallery: str


def ranked_lists(
    features: Features,
    images: Callable[[str], np.ndarray],
    *,
    protocol: str = "cross-modal",
    queries: int = 6,
    depth: int = 10,
    draw: str | None = "seeded",
    permutations: Permutations | None = None,
    seed: int = 0,
    metric: str = "euclidean",
    like: Sequence[RankedList] = (),
) -> tuple[RankedList, ...]:
    """Ranked lists of a few queries, from the easiest to the hardest.

    Query, gallery and exclusion are those of the first setting of the protocol; if it draws its gallery, the lists use
    the draw of the first trial. All queries with a match are sorted by the rank of their first correct match, then by
    average precision, then by row, cut into `queries` equal parts, and the middle one of each part is shown.

    Args:
        images: maps a name in `features.names` to its image `(H, W, 3)` uint8.
        depth: gallery images per list.
        draw, permutations, seed: for the gallery, as in scores (`crossreid.evaluation.procedure.evaluate`).
        like: lists of another method on the same images, whose queries are shown, so that methods can be compared.

    Raises:
        CrossreidError: an unknown protocol, or fewer than one query or rank requested.
        DataError: the features have no image names, a side is empty, or no query has a match.
    """
    if protocol not in PROTOCOLS:
        raise CrossreidError(f"unknown protocol '{protocol}'; choose one of: {', '.join(PROTOCOLS)}.")
    if queries < 1 or depth < 1:
        raise CrossreidError(f"expected at least 1 query and 1 rank per list, found {queries} and {depth}.")
    plan = PROTOCOLS[protocol]
    asking, gallery, drawn = _sides(features, plan, draw, permutations, seed)
    nameless = [row for row in (*asking, *gallery) if not features.names[row]]
    if nameless:
        raise DataError(f"ranked lists need the images: {len(nameless)} of the features have no file name.")
    left_out = _left_out(features, asking, gallery, plan)
    ranking = rank_embeddings(
        features.embeddings[asking],
        features.embeddings[gallery],
        features.identities[asking],
        features.identities[gallery],
        metric=metric,
        junk=left_out,
    )
    order = _by_difficulty(ranking)
    if not len(order):
        raise DataError("none of the queries has a match in the gallery, so there is no ranked list to show.")
    if like:
        wanted = [int(np.flatnonzero(asking == item.row)[0]) for item in like if item.row in asking]
        shown = [query for query in wanted if ranking.matches[query]]
    else:
        count = min(queries, len(order))
        shown = [int(order[(2 * part + 1) * len(order) // (2 * count)]) for part in range(count)]
    difficulty = {int(query): number for number, query in enumerate(order, start=1)}
    thumbnail = functools.cache(lambda row: _thumbnail(features, row, images(str(features.names[row]))))
    return tuple(
        RankedList(
            query=thumbnail(int(asking[query])),
            hits=_hits(features, int(asking[query]), gallery, left_out[query], metric, depth, thumbnail),
            row=int(asking[query]),
            first_right=int(ranking.first[query]),
            matches=int(ranking.matches[query]),
            kept=int(np.count_nonzero(~left_out[query])),
            place=difficulty[query],
            queries=len(order),
            metric=metric,
            gallery=drawn,
        )
        for query in shown
    )


def _hits(
    features: Features,
    row: int,
    gallery: np.ndarray,
    left_out: np.ndarray,
    metric: str,
    depth: int,
    thumbnail: Callable[[int], Thumbnail],
) -> tuple[Hit, ...]:
    """Return the `depth` gallery rows nearest to the query `row` that are not left out, nearest first."""
    near = distances(features.embeddings[[row]], features.embeddings[gallery], metric)[0].numpy()
    kept = np.flatnonzero(~left_out)
    nearest = kept[np.argsort(near[kept], kind="stable")]
    identities = features.identities
    return tuple(
        Hit(thumbnail(int(gallery[i])), float(near[i]), bool(identities[gallery[i]] == identities[row]))
        for i in nearest[:depth]
    )


def _by_difficulty(ranking: Ranking) -> np.ndarray:
    """Return the queries with a match, easiest first."""
    valid = np.flatnonzero(ranking.valid)
    return valid[np.lexsort((valid, -ranking.average_precision[valid], ranking.first[valid]))]


def _left_out(features: Features, asking: np.ndarray, gallery: np.ndarray, plan: Protocol) -> np.ndarray:
    """Return `(Q, G)` bool: gallery entries that a query ignores, including itself."""
    out = asking[:, None] == gallery
    cameras, others = features.cameras[asking][:, None], features.cameras[gallery]
    if plan.exclusion.identity_and_camera:
        same = features.identities[asking][:, None] == features.identities[gallery]
        same &= (cameras == others) & (cameras > 0)
        if plan.exclusion.frames is not None and features.frames is not None:
            same &= np.abs(features.frames[asking][:, None] - features.frames[gallery]) <= plan.exclusion.frames
        out |= same
    for ours, theirs in plan.exclusion.among(features.cameras[asking].tolist()).places:
        out |= (cameras == ours) & (others == theirs)
    films = features.tracklets
    if films is not None:  # no query finds its own tracklet
        out |= (films[asking][:, None] == films[gallery]) & (films[asking] != "")[:, None]
    return out


def _sides(
    features: Features, plan: Protocol, draw: str | None, permutations: Permutations | None, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the query rows, the gallery rows, and a description of the gallery."""
    setting = plan.settings[0]
    if setting.query is not None and setting.gallery is not None:
        query, gallery = features.modalities == setting.query, features.modalities == setting.gallery
    else:
        query, gallery = sides_by_role(features)
    if setting.query_cameras is not None:
        query = query & np.isin(features.cameras, setting.query_cameras)
    if setting.gallery_cameras is not None:
        gallery = gallery & np.isin(features.cameras, setting.gallery_cameras)
    for side, mask in (("query", query), ("gallery", gallery)):
        if not mask.any():
            raise DataError(
                f"ranked lists by {plan.name}, {setting.name}: the {side} is empty among {len(features)} images."
            )
    rows = np.flatnonzero(gallery)
    if setting.shots is None:
        return np.flatnonzero(query), rows, f"all {len(rows)} gallery images"
    draw = draw_of(plan, draw, permutations) or "seeded"
    rows = draw_gallery(
        groups_of(features, rows), draw, setting.shots, 0, seed=seed, cameras=setting.gallery_cameras,
        permutations=permutations,
    )  # fmt: skip
    many = "one image" if setting.shots == 1 else f"up to {setting.shots} images"
    how = f"{many} per identity and camera, the first trial's draw ({draw_name(draw, seed)})"
    return np.flatnonzero(query), rows, f"{len(rows)} images, {how}"


def _thumbnail(features: Features, row: int, pixels: np.ndarray) -> Thumbnail:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(
        jpeg=buffer.getvalue(),
        width=image.width,
        height=image.height,
        identity=str(features.identities[row]),
        camera=int(features.cameras[row]),
        modality=Modality(int(features.modalities[row])),
    )
