"""The one ranking core: for each query the ranks of its matches, as `crossreid.evaluation.measures` defines them.

No gallery is sorted: ranks are counted, by `crossreid.evaluation.kernel` on CPUs and by `crossreid.evaluation.counting`
on other devices, with the same results.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.evaluation.counting import average_precision, positions_among_matches, ranks_of_matches
from crossreid.evaluation.distances import as_embeddings, order_blocks
from crossreid.evaluation.exclusion import COUNTINGS, NO_EXCLUSION, Exclusion, kept_masks
from crossreid.evaluation.kernel import rank_rows
from crossreid.evaluation.measures import Ranking, concatenate


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
    `(G,)` int, needed where the exclusion rule looks at them; junk `(G,)` or `(Q, G)` bool, entries to leave out
    besides. Raises `CrossreidError` that names what does not fit: lengths, empty sets, NaN or infinite distances, missing
    cameras.
    """
    matrix = torch.from_numpy(np.asarray(distances)) if not isinstance(distances, Tensor) else distances.detach()
    if matrix.ndim != 2:
        raise CrossreidError(f"distances: expected an array (Q, G), found shape {tuple(matrix.shape)}.")
    if matrix.dtype not in (torch.float32, torch.float64):
        matrix = matrix.to(torch.float32 if matrix.is_floating_point() else torch.float64)
    ranker = Ranker.of(
        matrix.shape[0], matrix.shape[1], matrix.device, query_identities, gallery_identities, query_cameras,
        gallery_cameras, exclusion=exclusion, junk=junk, counting=counting, trapezoid=trapezoid,
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
    """`rank_distances` from embeddings `(Q, D)` and `(G, D)`, whose distances are never held all at once."""
    left, right = as_embeddings(query, "query embeddings"), as_embeddings(gallery, "gallery embeddings")
    ranker = Ranker.of(
        len(left), len(right), left.device, query_identities, gallery_identities, query_cameras, gallery_cameras,
        exclusion=exclusion, junk=junk, counting=counting, trapezoid=trapezoid,
    )  # fmt: skip
    return concatenate(ranker.rank(at, block) for at, block in order_blocks(left, right, metric))


@dataclass(frozen=True, eq=False)
class Ranker:
    """Queries and gallery with the rules of their ranking, checked and prepared once; `rank` takes blocks of distances.

    Codes number the gallery's identities; -1 is a query's that the gallery lacks. `masks` are the `(M, G)` sets of kept
    entries that occur, of which `mask_of` `(Q,)` names each query's, -1 where all are kept. `members` lists the entries
    by code, those of code c from `starts[c]` on.
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
    device: torch.device

    @classmethod
    def of(
        cls,
        queries: int,
        entries: int,
        device: torch.device,
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
        )

    def rank(
        self, at: slice, distances: Tensor, *, columns: np.ndarray | None = None, nearest: bool = False
    ) -> Ranking:
        """The ranking of the queries `at`, from their distances `(R, G)`, or any numbers in the same order.

        With `columns` `(G,)` the distances are `(R, P)`, of which these are the gallery's. `nearest` asks for that field.

        Raises:
            CrossreidError: naming the first distance that is not finite.
        """
        if nearest:
            excluded = self.excluded(at)
            own = distances if columns is None else distances[:, columns]
            kept = own if excluded is None else own.masked_fill(excluded, torch.inf)
            return replace(self.rank(at, own), nearest=kept.amin(dim=1).double().cpu().numpy())
        if distances.device.type == "cpu":
            picked = np.zeros(0, np.int64) if columns is None else columns
            return self._rank_compiled(at, distances.contiguous().numpy(), picked)
        if columns is not None:
            distances = distances.index_select(1, torch.from_numpy(columns).to(distances.device))
        # An accelerator wants much at a time, but not everything.
        step = max(1, (1 << 25) // distances.shape[1])
        return concatenate(
            self._rank_counted(slice(at.start + start, at.start + start + len(piece)), piece)
            for start in range(0, len(distances), step)
            for piece in [distances[start : start + step]]
        )

    def _rank_compiled(self, at: slice, distances: np.ndarray, columns: np.ndarray) -> Ranking:
        rows = len(distances)
        first, matches, kept = (np.zeros(rows, np.int64) for _ in range(3))
        precision, penalty = np.zeros(rows), np.zeros(rows)
        limit = distances.dtype.type(np.finfo(distances.dtype).max / 4)

        def part(start: int, stop: int) -> None:
            own = slice(at.start + start, at.start + stop)
            bad = rank_rows(
                distances[start:stop], columns, self.query[own], self.query_cameras[own], self.masks, self.mask_of[own],
                self.kept_by, self.starts, self.members, self.codes, self.gallery_cameras, self.query_frames[own],
                self.gallery_frames, self.gap, self.first_only, self.trapezoid,
                limit, first[start:stop], precision[start:stop], penalty[start:stop], matches[start:stop],
                kept[start:stop],
            )  # fmt: skip
            if bad >= 0:
                row = distances[start + bad : start + bad + 1]
                _refuse_non_finite(torch.from_numpy(row[:, columns] if len(columns) else row), own.start + bad)

        threads = torch.get_num_threads() if rows * len(self.codes) > 1 << 16 else 1
        if threads == 1:
            part(0, rows)
        else:
            step = -(-rows // (2 * threads))  # two parts a thread: rows differ in work
            list(_pool(threads).map(lambda start: part(start, min(start + step, rows)), range(0, rows, step)))
        return Ranking(self.positions, first, precision, penalty, matches, kept)

    def _rank_counted(self, at: slice, distances: Tensor) -> Ranking:
        distances = distances.contiguous()
        _refuse_non_finite(distances, at.start)
        excluded = self.excluded(at)
        # Codes fit 32 bits, and half the bytes is half the time of the (R, G) comparisons.
        match = self._tensor(self.query[at])[:, None] == self._tensor(self.codes)
        if excluded is None:
            kept = torch.full((len(distances),), distances.shape[1], device=distances.device)
        else:
            match &= ~excluded
            kept = distances.shape[1] - excluded.sum(dim=1)
        rows, columns = match.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(distances))
        first = torch.zeros_like(counts)
        precision = torch.full(counts.shape, torch.nan, dtype=torch.float64, device=counts.device)
        penalty = precision.clone()
        if len(rows):
            positions = positions_among_matches(distances, rows, columns, counts)
            if excluded is not None:
                positions.masked_fill_(excluded, int(counts.max()))
            ranks = ranks_of_matches(positions, int(counts.max()))
            valid = counts > 0
            first = torch.where(valid, self._identities_ahead(positions) if self.first_only else ranks[:, 0], 0)
            precision = average_precision(ranks, counts, self.trapezoid)
            last = ranks.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
            penalty = torch.where(valid, counts.double() / last, torch.nan)
        arrays = (part.cpu().numpy() for part in (first, precision, penalty, counts, kept))
        return Ranking(self.positions, *arrays)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.int32)).to(self.device)

    def excluded(self, at: slice) -> Tensor | None:
        """`(rows, G)` bool, or None where nothing is left out."""
        excluded = None
        if len(self.masks):
            chosen = torch.from_numpy(self.mask_of[at]).to(self.device)
            masks = torch.from_numpy(self.masks[self.mask_of[at]]).to(self.device) == 0
            excluded = masks & (chosen >= 0)[:, None]
        if len(self.gallery_cameras):
            cameras = self._tensor(self.query_cameras[at])[:, None]
            same = (cameras == self._tensor(self.gallery_cameras)) & (cameras > 0)
            same &= self._tensor(self.query[at])[:, None] == self._tensor(self.codes)
            if self.gap >= 0:
                ours, theirs = self._tensor(self.query_frames[at]), self._tensor(self.gallery_frames)
                same &= (ours[:, None] - theirs).abs() <= self.gap
            excluded = same if excluded is None else excluded | same
        return excluded

    def _identities_ahead(self, positions: Tensor) -> Tensor:
        """`(rows,)`: the number of identities at or ahead of the best match, its own counted through that match."""
        seen = torch.zeros(len(positions), self.positions, dtype=torch.bool, device=positions.device)
        rows, columns = (positions == 0).nonzero(as_tuple=True)
        seen[rows, self._tensor(self.codes)[columns].long()] = True
        return seen.sum(dim=1)


Sides = tuple[np.ndarray | None, np.ndarray | None]  # of the queries, of the gallery


def _check(
    sizes: tuple[int, int],
    identities: tuple[np.ndarray, np.ndarray],
    cameras: Sides,
    frames: Sides,
    exclusion: Exclusion,
    counting: str,
) -> None:
    """Raise `CrossreidError` that names what does not fit: a rule, a length, or what a rule needs and is not there."""
    if counting not in COUNTINGS:
        raise CrossreidError(f"unknown counting rule '{counting}'; choose one of: {', '.join(COUNTINGS)}.")
    for side, count in zip(("query", "gallery"), sizes, strict=True):
        if count == 0:
            raise CrossreidError(f"the {side} is empty; nothing can be ranked.")
    for name, sides in (("identities", identities), ("cameras", cameras), ("frames", frames)):
        for side, count, values in zip(("query", "gallery"), sizes, sides, strict=True):
            if values is not None and np.shape(values) != (count,):
                raise CrossreidError(
                    f"{side} {name}: expected {count}, one a row of distances, found shape {np.shape(values)}."
                )
    if exclusion.needs_cameras and any(values is None for values in cameras):
        raise CrossreidError(f"the exclusion rule '{exclusion.description}' needs the cameras of query and gallery.")
    if exclusion.frames is not None and any(values is None for values in frames):
        raise CrossreidError(f"the exclusion rule '{exclusion.description}' needs the frames of query and gallery.")
    if len({values.dtype.kind in "US" for values in identities}) > 1:
        raise CrossreidError("query and gallery identities must both be text or both be numbers.")


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: starting them takes as long as ranking a small gallery."""
    return ThreadPoolExecutor(threads, thread_name_prefix="rank")


def _refuse_non_finite(distances: Tensor, start: int) -> None:
    low, high = distances.aminmax()
    limit = torch.finfo(distances.dtype).max / 4
    if bool((low > -limit) & (high < limit)):
        return
    bad = distances.isnan() | (distances.abs() >= limit)
    row, column = (int(i) for i in bad.nonzero()[0])
    kind = "NaN" if bool(distances[row, column].isnan()) else "not finite"
    raise CrossreidError(
        f"the distance of query {start + row} to gallery entry {column} is {kind}; leave entries out by the junk mask."
    )
