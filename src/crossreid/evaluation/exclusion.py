"""The rules of a ranking: which entries a query ignores, and what counts as a rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.tensors import is_tensor

if TYPE_CHECKING:
    from torch import Tensor

Counting = Literal["every image", "first image of each identity"]
COUNTINGS: tuple[str, ...] = get_args(Counting)


@dataclass(frozen=True)
class Exclusion:
    """Which gallery entries a query ignores. `description` is printed with every score.

    `identity_and_camera`: entries of the query's identity from the query's camera, if that camera is known (greater
    than 0); with `frames`, only those at most that many frames away. `camera`: all entries from the query's camera, if
    that is known, whoever they show. `places`: pairs (query camera, gallery camera) at the same place; all entries of
    that gallery camera are left out, whoever they show.
    """

    description: str
    identity_and_camera: bool = False
    frames: int | None = None
    places: tuple[tuple[int, int], ...] = ()
    camera: bool = False

    @property
    def needs_cameras(self) -> bool:
        return self.identity_and_camera or self.camera or bool(self.places)

    def applied(self, query_cameras: np.ndarray, gallery_cameras: np.ndarray) -> str:
        """Return the text printed with a score: the rule as far as the known cameras (0 is unknown) allow it."""
        known, others = np.asarray(query_cameras) > 0, np.asarray(gallery_cameras) > 0
        if not (self.identity_and_camera or self.camera) or known.all():
            return self.description
        if not known.any() or not others.any():
            return f"none (cameras are unknown; the rule: {self.description})"
        unknown = np.count_nonzero(~known)
        return f"{self.description}, where known ({unknown} of {len(known)} queries have no camera)"

    def among(self, cameras: Iterable[int]) -> Exclusion:
        """Return the same rule with `camera` written as pairs of cameras, for queries of these cameras."""
        if not self.camera:
            return self
        same = tuple((camera, camera) for camera in sorted({int(camera) for camera in cameras} - {0}))
        return replace(self, camera=False, places=(*self.places, *same))


NO_EXCLUSION = Exclusion("none")
SAME_IDENTITY_AND_CAMERA = Exclusion("same identity and same camera", identity_and_camera=True)
SAME_CAMERA = Exclusion("same camera, whoever it shows", camera=True)


def same_camera_within(frames: int) -> Exclusion:
    """Return the rule for videos: exclude an identity's images from the query's camera at most `frames` away."""
    return Exclusion(f"same identity and camera within {frames} frames", identity_and_camera=True, frames=frames)


def same_place(*pairs: tuple[int, int]) -> Exclusion:
    """Return the rule that queries of the first camera of each pair skip the gallery of the second."""
    text = ", ".join(f"queries of camera {query} skip camera {gallery}" for query, gallery in pairs)
    return Exclusion(f"same place ({text})", places=tuple(pairs))


def kept_masks(
    queries: int,
    entries: int,
    query_cameras: np.ndarray | None,
    gallery_cameras: np.ndarray | None,
    exclusion: Exclusion,
    junk: np.ndarray | Tensor | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `(M, G)` uint8 masks of entries kept by place and junk mask, and each query's row in them, `(Q,)`.

    The row is -1 for a query that keeps all entries. junk `(G,)` or `(Q, G)` bool, NumPy or torch: more entries to
    leave out.

    Raises:
        CrossreidError: junk has another shape.
    """
    mask_of = np.full(queries, -1, dtype=np.int64)
    masks: list[np.ndarray] = []
    for camera in dict.fromkeys(ours for ours, _ in exclusion.places):
        skipped = [theirs for ours, theirs in exclusion.places if ours == camera]
        asking = np.asarray(query_cameras) == camera
        if asking.any():
            mask_of[asking] = len(masks)
            masks.append(~np.isin(np.asarray(gallery_cameras), skipped))
    if junk is None:
        return (np.stack(masks) if masks else np.ones((0, entries), bool)).astype(np.uint8), mask_of
    out = junk.detach().cpu().numpy() if is_tensor(junk) else np.asarray(junk)
    if out.shape not in {(entries,), (queries, entries)}:
        raise CrossreidError(f"junk: expected a mask ({entries},) or ({queries}, {entries}), found {tuple(out.shape)}.")
    masks.append(np.ones(entries, bool))  # for queries without a place rule
    mask_of[mask_of < 0] = len(masks) - 1
    if out.ndim == 1:
        return (np.stack(masks) & ~out.astype(bool)).astype(np.uint8), mask_of
    return (np.stack(masks)[mask_of] & ~out.astype(bool)).astype(np.uint8), np.arange(queries)
