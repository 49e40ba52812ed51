"""The ranking core: for each query the ranks of its matches, as `crossreid.evaluation.measures` defines them.

No gallery is sorted: ranks are counted, by `crossreid.evaluation.kernel` on CPUs and by
`crossreid.evaluation.device_ranking` on other devices, with the same results.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.exclusion import COUNTINGS, NO_EXCLUSION, Exclusion, kept_masks
from crossreid.evaluation.host_distances import host_order_blocks, number_rows, refuse_non_finite_rows
from crossreid.evaluation.measures import Ranking, concatenate
from crossreid.evaluation.sorted_ranking import rank_by_sorting
from crossreid.evaluation.tensors import is_tensor
from crossreid.evaluation.threads import in_threads

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from crossreid.evaluation.device_ranking import DeviceRanker, Started


def rank_distances(
    distances: np.ndarray | Tensor,
    query_identities: np.ndarray,
    gallery_identities: np.ndarray,
    query_cameras: np.ndarray | None = None,
    gallery_cameras: np.ndarray | None = None,
    *,
    exclusion: Exclusion = NO_EXCLUSION,
    junk: np.ndarray | Tensor | None = None,
    counting: str = "every image",
    trapezoid: bool = False,
) -> Ranking:
    """Rank a gallery by given distances, smaller is nearer.

    distances `(Q, G)` float, NumPy or torch, any device; identities `(Q,)`, `(G,)` of int or str; cameras `(Q,)`,
    `(G,)` int, needed if the exclusion rule uses them; junk `(G,)` or `(Q, G)` bool, more entries to leave out. Raises
    `CrossreidError` naming what does not fit: lengths, empty sets, NaN or infinite distances, missing cameras.
    """
    matrix = distances.detach() if is_tensor(distances) else np.asarray(distances)
    if matrix.ndim != 2:
        raise CrossreidError(f"distances: expected an array (Q, G), found shape {tuple(matrix.shape)}.")
    if is_tensor(matrix):
        if str(matrix.dtype) not in ("torch.float32", "torch.float64"):
            matrix = matrix.float() if matrix.is_floating_point() else matrix.double()
    elif matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else np.float64)
    device = matrix.device if is_tensor(matrix) else "cpu"
    ranker = Ranker.of(
        *(matrix.shape[0], matrix.shape[1], device), query_identities, gallery_identities, query_cameras, gallery_cameras,
        exclusion=exclusion, junk=junk, counting=counting, trapezoid=trapezoid,
    )  # fmt: skip
    return ranker.rank(slice(0, len(matrix)), matrix)


def rank_embeddings(
    query: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    query_identities: np.ndarray,
    gallery_identities: np.ndarray,
    query_cameras: np.ndarray | None = None,
    gallery_cameras: np.ndarray | None = None,
    *,
    metric: str = "euclidean",
    exclusion: Exclusion = NO_EXCLUSION,
    junk: np.ndarray | Tensor | None = None,
    counting: str = "every image",
    trapezoid: bool = False,
) -> Ranking:
    """As `rank_distances`, from embeddings `(Q, D)` and `(G, D)`, whose distances are never all in memory."""
    left, right = _rows_of(query, "query embeddings"), _rows_of(gallery, "gallery embeddings")
    if is_tensor(left) or is_tensor(right):
        from crossreid.evaluation import distances as there

        left, right = there.as_rows(left, "query embeddings"), there.as_rows(right, "gallery embeddings")
        blocks: Any = there.order_blocks(left, right, metric)
        refuse: Any = there.refuse_non_finite
    else:
        blocks, refuse = host_order_blocks(left, right, metric), refuse_non_finite_rows
    ranker = Ranker.of(
        len(left), len(right), left.device if is_tensor(left) else "cpu", query_identities, gallery_identities,
        query_cameras, gallery_cameras, exclusion=exclusion, junk=junk, counting=counting, trapezoid=trapezoid,
    )  # fmt: skip
    try:
        return ranker.finish([ranker.start(at, block) for at, block in blocks])
    except NonFinite:
        refuse(left, "query embeddings")
        refuse(right, "gallery embeddings")
        raise


def _rows_of(embeddings: np.ndarray | Tensor, what: str) -> np.ndarray | Tensor:
    """Return rows on the CPU as an array, whatever they were."""
    if not is_tensor(embeddings):
        return number_rows(embeddings, what)
    given = embeddings.detach()
    if given.device.type != "cpu":
        return given
    return number_rows((given.float() if str(given.dtype) == "torch.bfloat16" else given).numpy(), what)


@dataclass(frozen=True, eq=False)
class Ranker:
    """Queries and gallery with the rules of their ranking, checked and prepared once; `rank` takes blocks of distances.

    Codes number the gallery's identities; -1 is the code of a query that the gallery lacks. `masks` are the distinct
    `(M, G)` sets of kept entries, and `mask_of` `(Q,)` is each query's set, -1 if all are kept. `members` lists the
    entries by code, those of code c from `starts[c]` on. `few`: there is so little to rank on a CPU that it is sorted.
    """

    query: np.ndarray
    codes: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    query_frames: np.ndarray
    gallery_frames: np.ndarray
    gap: int
    masks: np.ndarray
    mask_of: np.ndarray
    kept_by: np.ndarray
    first_only: bool
    trapezoid: bool
    positions: int
    device: torch.device | str
    few: bool = False

    @classmethod
    def of(
        cls,
        queries: int,
        entries: int,
        device: torch.device | str,
        query_identities: np.ndarray,
        gallery_identities: np.ndarray,
        query_cameras: np.ndarray | None,
        gallery_cameras: np.ndarray | None,
        query_frames: np.ndarray | None = None,
        gallery_frames: np.ndarray | None = None,
        *,
        exclusion: Exclusion = NO_EXCLUSION,
        junk: np.ndarray | Tensor | None = None,
        counting: str = "every image",
        trapezoid: bool = False,
        few: bool = False,
    ) -> Ranker:
        left, right = np.asarray(query_identities), np.asarray(gallery_identities)
        cameras, frames = (query_cameras, gallery_cameras), (query_frames, gallery_frames)
        _check((queries, entries), (left, right), cameras, frames, exclusion, counting)
        names, codes = np.unique(right, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        found = np.minimum(np.searchsorted(names, left), len(names) - 1)
        found = np.where(names[found] == left, found, -1)
        ours, theirs = np.zeros(queries, np.int64), np.zeros(0, np.int64)
        exclusion = exclusion.among(query_cameras if query_cameras is not None else ())
        if exclusion.identity_and_camera:
            ours, theirs = np.asarray(query_cameras).astype(np.int64), np.asarray(gallery_cameras).astype(np.int64)
        masks, mask_of = kept_masks(queries, entries, query_cameras, gallery_cameras, exclusion, junk)
        first_only = counting == "first image of each identity"
        return cls(
            query=found.astype(np.int64),
            codes=codes,
            members=np.argsort(codes, kind="stable"),
            starts=np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(names))))),
            query_cameras=ours,
            gallery_cameras=theirs,
            query_frames=np.asarray(query_frames) if exclusion.frames is not None else np.zeros(queries, np.int64),
            gallery_frames=np.asarray(gallery_frames) if exclusion.frames is not None else np.zeros(0, np.int64),
            gap=-1 if exclusion.frames is None else exclusion.frames,
            masks=masks,
            mask_of=mask_of,
            kept_by=masks.sum(axis=1, dtype=np.int64),
            first_only=first_only,
            trapezoid=trapezoid,
            positions=len(names) if first_only else entries,
            device=device,
            few=few,
        )

    def rank(
        self, at: slice, distances: np.ndarray | Tensor, *, columns: np.ndarray | None = None, nearest: bool = False
    ) -> Ranking:
        """Return the ranking of the queries `at`, from their distances `(R, G)`, or any numbers in the same order.

        With `columns` `(G,)` the distances are `(R, P)`, of which these are the gallery's. `nearest` requests that
        field.

        Raises:
            CrossreidError: naming the first distance that is not finite.
        """
        return self.finish([self.start(at, distances, columns=columns, nearest=nearest)])

    def start(
        self, at: slice, distances: np.ndarray | Tensor, *, columns: np.ndarray | None = None, nearest: bool = False
    ) -> Ranking | Started:
        """As `rank`, for one of several blocks: a device gets its work and is not waited for until `finish`."""
        if is_tensor(distances):
            if distances.device.type != "cpu":
                return self._start_counting(at, distances, columns, nearest)
            distances = distances.numpy()
        return self._rank_compiled(at, distances, columns, nearest)

    def finish(self, parts: Sequence[Ranking | Started]) -> Ranking:
        """Return the ranking of all queries that were started, in that order."""
        ranked = [part for part in parts if isinstance(part, Ranking)]
        started = [part for part in parts if not isinstance(part, Ranking)]
        return self._on_device.finish(started) if started else concatenate(ranked)

    @functools.cached_property
    def _on_device(self) -> DeviceRanker:
        from crossreid.evaluation.device_ranking import DeviceRanker

        return DeviceRanker(self, self.device)

    def _start_counting(
        self, at: slice, distances: Tensor, columns: np.ndarray | None, nearest: bool, fused: bool | None = None
    ) -> Started:
        return self._on_device.start(at, distances, columns, nearest, fused)

    def _rank_counted(self, at: slice, distances: Tensor, columns: np.ndarray | None = None, nearest: bool = False,
                      fused: bool | None = None) -> Ranking:  # fmt: skip
        """Rank as on a device, wherever the distances are."""
        return self.finish([self._start_counting(at, distances, columns, nearest, fused)])

    def _rank_compiled(self, at: slice, block: np.ndarray, picked: np.ndarray | None, nearest: bool) -> Ranking:
        if nearest:
            excluded = self.excluded(at)
            own = block if picked is None else block[:, picked]
            kept_only = own if excluded is None else np.where(excluded, np.inf, own)
            return replace(self._rank_compiled(at, own, None, False), nearest=kept_only.min(axis=1).astype(np.float64))
        limit = block.dtype.type(np.finfo(block.dtype).max / 4)
        if self.few:
            own = block if picked is None else block[:, picked]
            if (np.abs(own) < limit).all():
                return rank_by_sorting(self, at, own)
        from crossreid.evaluation.kernel import rank_rows

        distances = np.ascontiguousarray(block)
        columns = np.zeros(0, np.int64) if picked is None else picked
        rows = len(distances)
        first, matches, kept = (np.zeros(rows, np.int64) for _ in range(3))
        precision, penalty = np.zeros(rows), np.zeros(rows)

        def part(here: slice) -> None:
            start, stop = here.start, here.stop
            own = slice(at.start + start, at.start + stop)
            bad = rank_rows(
                distances[start:stop], columns, self.query[own], self.query_cameras[own], self.masks, self.mask_of[own],
                self.kept_by, self.starts, self.members, self.codes, self.gallery_cameras, self.query_frames[own],
                self.gallery_frames, self.gap, self.first_only, self.trapezoid,
                limit, first[start:stop], precision[start:stop], penalty[start:stop], matches[start:stop],
                kept[start:stop],
            )  # fmt: skip
            if bad >= 0:
                row = distances[start + bad]
                row = row[columns] if len(columns) else row
                entry = int(np.argmin(np.abs(row) < limit))
                raise refused(own.start + bad, entry, bool(np.isnan(row[entry])))

        in_threads(part, rows, work=rows * len(self.codes))
        return Ranking(self.positions, first, precision, penalty, matches, kept)

    def excluded(self, at: slice) -> np.ndarray | None:
        """Return `(rows, G)` bool, or None if nothing is left out."""
        excluded: np.ndarray | None = None
        if len(self.masks):
            chosen = self.mask_of[at]
            excluded = (self.masks[chosen] == 0) & (chosen >= 0)[:, None]
        if len(self.gallery_cameras):
            cameras = self.query_cameras[at, None]
            same = (cameras == self.gallery_cameras) & (cameras > 0)
            same &= self.query[at, None] == self.codes
            if self.gap >= 0:
                same &= np.abs(self.query_frames[at, None] - self.gallery_frames) <= self.gap
            excluded = same if excluded is None else excluded | same
        return excluded


Sides = tuple[np.ndarray | None, np.ndarray | None]  # of the queries, of the gallery


def _check(
    sizes: tuple[int, int],
    identities: tuple[np.ndarray, np.ndarray],
    cameras: Sides,
    frames: Sides,
    exclusion: Exclusion,
    counting: str,
) -> None:
    """Raise `CrossreidError` naming what does not fit: a rule, a length, or what a rule needs and is missing."""
    if counting not in COUNTINGS:
        raise CrossreidError(f"unknown counting rule '{counting}'; choose one of: {', '.join(COUNTINGS)}.")
    for side, count in zip(("query", "gallery"), sizes, strict=True):
        if count == 0:
            raise CrossreidError(f"the {side} is empty; nothing can be ranked.")
    for name, sides in (("identities", identities), ("cameras", cameras), ("frames", frames)):
        for side, count, values in zip(("query", "gallery"), sizes, sides, strict=True):
            if values is not None and np.shape(values) != (count,):
                raise CrossreidError(
                    f"{side} {name}: expected {count}, one per row of distances, found shape {np.shape(values)}."
                )
    if exclusion.needs_cameras and any(values is None for values in cameras):
        raise CrossreidError(f"the exclusion rule '{exclusion.description}' needs the cameras of query and gallery.")
    if exclusion.frames is not None and any(values is None for values in frames):
        raise CrossreidError(f"the exclusion rule '{exclusion.description}' needs the frames of query and gallery.")
    if len({values.dtype.kind in "US" for values in identities}) > 1:
        raise CrossreidError("query and gallery identities must both be text or both be numbers.")


class NonFinite(CrossreidError):
    """A distance that is NaN or infinite."""


def refused(query: int, entry: int, nan: bool) -> NonFinite:
    """Return the error for a distance that is not finite."""
    kind = "NaN" if nan else "not finite"
    return NonFinite(
        f"the distance of query {query} to gallery entry {entry} is {kind}; leave entries out with the junk mask."
    )
