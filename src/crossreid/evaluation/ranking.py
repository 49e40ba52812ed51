"""The one ranking core: for each query the rank of its matches, and from these CMC, AP and INP.

Definitions. Kept entries are the gallery less what the exclusion rule and the junk mask take away; they are ordered by
distance, and entries at equal distance by their place in the gallery. A query's matches are the kept entries of its
identity; with ranks r_1 < ... < r_n (1-based) among the kept entries:

* AP (step) = mean_i i / r_i, as in SYSU-MM01's evaluation;
* AP (trapezoid) = mean_i (i / r_i + (i-1) / (r_i - 1)) / 2, the second term 1 where r_i = 1 (Market-1501's, MARS's);
* INP = n / r_n (Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook");
* the rank that counts for CMC is r_1, or, where only the first image of each identity counts, 1 plus the number of
  other identities that have an entry ahead of r_1.

A query without a match is skipped: it enters no average and is counted.

No gallery is sorted; `crossreid.evaluation.counting` tells how.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from crossreid.evaluation.counting import average_precision, places_among_matches, ranks_of_matches
from crossreid.evaluation.distances import as_embeddings, distance_blocks

Counting = Literal["every image", "first image of each identity"]
COUNTINGS: tuple[str, ...] = get_args(Counting)


@dataclass(frozen=True)
class Exclusion:
    """What a query does not look at. `description` is printed beside every score.

    `identity_and_camera`: gallery entries of the query's identity from the query's camera, where that camera is known
    (greater than 0). `places`: pairs (query camera, gallery camera) that look at the same place; all entries of that
    gallery camera are left out, whoever they show.
    """

    description: str
    identity_and_camera: bool = False
    places: tuple[tuple[int, int], ...] = ()

    @property
    def needs_cameras(self) -> bool:
        return self.identity_and_camera or bool(self.places)


NO_EXCLUSION = Exclusion("none")
SAME_IDENTITY_AND_CAMERA = Exclusion("same identity and same camera", identity_and_camera=True)


def same_place(*pairs: tuple[int, int]) -> Exclusion:
    """The rule that the queries of the first camera of each pair skip the gallery of the second."""
    text = ", ".join(f"queries of camera {query} skip camera {gallery}" for query, gallery in pairs)
    return Exclusion(f"same place ({text})", places=tuple(pairs))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Results of Q queries, each array `(Q,)`.

    `first`: the rank that counts for CMC, 1-based, 0 where skipped; `average_precision` and `inverse_penalty` (INP):
    float64 in (0, 1], NaN where skipped; `matches` and `kept`: numbers of kept entries of the query's identity and of
    any. `positions`: the number of ranks there are (gallery entries, or gallery identities under the first-image
    count).
    """

    positions: int
    first: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray
    matches: np.ndarray
    kept: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """`(Q,)` bool: the queries that have a match."""
        return self.matches > 0

    @property
    def skipped(self) -> int:
        return int(np.count_nonzero(self.matches == 0))

    @property
    def cmc(self) -> np.ndarray:
        """`(positions,)` float64: the share of valid queries found at rank 1, 2, ..., all NaN if none is valid."""
        found = np.bincount(self.first[self.valid], minlength=self.positions + 1)[1:]
        with np.errstate(invalid="ignore"):
            return np.cumsum(found) / np.float64(found.sum())

    @property
    def mAP(self) -> float:
        return _mean(self.average_precision[self.valid])

    @property
    def mINP(self) -> float:
        return _mean(self.inverse_penalty[self.valid])

    @property
    def chance_rank1(self) -> float:
        """Expected rank-1 of a uniformly random order of the kept entries: the mean of matches / kept.

        It is the same under both counting rules, since the first entry decides in either.
        """
        return _mean(self.matches[self.valid] / self.kept[self.valid])


def concatenate(parts: Iterable[Ranking]) -> Ranking:
    """The rankings of several blocks of queries against one gallery as one."""
    blocks = list(parts)
    if len({block.positions for block in blocks}) != 1:
        raise ValueError("rankings to be concatenated must be of one gallery; found none, or galleries of other sizes.")
    names = ("first", "average_precision", "inverse_penalty", "matches", "kept")
    return Ranking(blocks[0].positions, *(np.concatenate([getattr(b, n) for b in blocks]) for n in names))


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
    besides. Raises `ValueError` that names what does not fit: lengths, empty sets, NaN or infinite distances, missing
    cameras.
    """
    matrix = torch.from_numpy(np.asarray(distances)) if not isinstance(distances, Tensor) else distances.detach()
    if matrix.ndim != 2:
        raise ValueError(f"distances: expected an array (Q, G), found shape {tuple(matrix.shape)}.")
    if matrix.dtype not in (torch.float32, torch.float64):
        matrix = matrix.to(torch.float32 if matrix.is_floating_point() else torch.float64)
    gallery = _Gallery.of(
        matrix.shape[0], matrix.shape[1], matrix.device, query_identities, gallery_identities, query_cameras,
        gallery_cameras, exclusion, junk, counting, trapezoid,
    )  # fmt: skip
    return gallery.rank((slice(0, len(matrix)), matrix) for _ in range(1))


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
    rules = _Gallery.of(
        len(left), len(right), left.device, query_identities, gallery_identities, query_cameras, gallery_cameras,
        exclusion, junk, counting, trapezoid,
    )  # fmt: skip
    return rules.rank(distance_blocks(left, right, metric))


@dataclass(frozen=True)
class _Gallery:
    """Checked identities, cameras and rules, as tensors on the device of the distances."""

    query: Tensor
    gallery: Tensor
    query_cameras: Tensor | None
    gallery_cameras: Tensor | None
    exclusion: Exclusion
    junk: Tensor | None
    first_only: bool
    trapezoid: bool
    positions: int

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
        exclusion: Exclusion,
        junk: np.ndarray | Tensor | None,
        counting: str,
        trapezoid: bool,
    ) -> _Gallery:
        if counting not in COUNTINGS:
            raise ValueError(f"unknown counting rule '{counting}'; choose one of: {', '.join(COUNTINGS)}.")
        for side, count in (("query", queries), ("gallery", entries)):
            if count == 0:
                raise ValueError(f"the {side} is empty; nothing can be ranked.")
        left, right = np.asarray(query_identities), np.asarray(gallery_identities)
        named: list[tuple[str, np.ndarray | None, int]] = [
            ("query identities", left, queries),
            ("gallery identities", right, entries),
            ("query cameras", query_cameras, queries),
            ("gallery cameras", gallery_cameras, entries),
        ]
        for what, given, count in named:
            if given is not None and np.shape(given) != (count,):
                raise ValueError(f"{what}: expected {count}, one a row of distances, found shape {np.shape(given)}.")
        if exclusion.needs_cameras and (query_cameras is None or gallery_cameras is None):
            raise ValueError(f"the exclusion rule '{exclusion.description}' needs the cameras of query and gallery.")
        if (left.dtype.kind in "US") != (right.dtype.kind in "US"):
            raise ValueError("query and gallery identities must both be text or both be numbers.")
        names, codes = np.unique(right, return_inverse=True)
        found = np.minimum(np.searchsorted(names, left), len(names) - 1)
        found = np.where(names[found] == left, found, -1)
        mask = None
        if junk is not None:
            mask = torch.as_tensor(junk, dtype=torch.bool, device=device)
            if tuple(mask.shape) not in {(entries,), (queries, entries)}:
                raise ValueError(
                    f"junk: expected a mask ({entries},) or ({queries}, {entries}), found {tuple(mask.shape)}."
                )
        first_only = counting == "first image of each identity"

        def on_device(values: np.ndarray | None) -> Tensor | None:
            return None if values is None else torch.as_tensor(np.asarray(values), dtype=torch.int32, device=device)

        # Codes fit 32 bits, and half the bytes is half the time of the (Q, G) comparisons.
        return cls(
            torch.as_tensor(found, dtype=torch.int32, device=device),
            torch.as_tensor(codes.reshape(-1), dtype=torch.int32, device=device),
            on_device(query_cameras) if exclusion.needs_cameras else None,
            on_device(gallery_cameras) if exclusion.needs_cameras else None,
            exclusion,
            mask,
            first_only,
            trapezoid,
            len(names) if first_only else entries,
        )

    def rank(self, blocks: Iterable[tuple[slice, Tensor]]) -> Ranking:
        parts = []
        for rows, matrix in blocks:
            # Small enough to stay in a processor's cache; an accelerator wants more at a time.
            step = max(1, (1 << 19 if matrix.device.type == "cpu" else 1 << 25) // matrix.shape[1])
            for start in range(0, len(matrix), step):
                piece = matrix[start : start + step]
                at = slice(rows.start + start, rows.start + start + len(piece))
                parts.append(self._rank_block(piece, at))
        return concatenate(parts)

    def _rank_block(self, distances: Tensor, at: slice) -> Ranking:
        distances = distances.contiguous()
        _refuse_non_finite(distances, at.start)
        excluded = self._excluded(at)
        match = self.query[at, None] == self.gallery
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
            places = places_among_matches(distances, rows, columns, counts)
            if excluded is not None:
                places.masked_fill_(excluded, int(counts.max()))
            ranks = ranks_of_matches(places, int(counts.max()))
            valid = counts > 0
            first = torch.where(valid, self._identities_ahead(places) if self.first_only else ranks[:, 0], 0)
            precision = average_precision(ranks, counts, self.trapezoid)
            last = ranks.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
            penalty = torch.where(valid, counts.double() / last, torch.nan)
        arrays = (part.cpu().numpy() for part in (first, precision, penalty, counts, kept))
        return Ranking(self.positions, *arrays)

    def _excluded(self, at: slice) -> Tensor | None:
        """`(rows, G)` bool, or None where nothing is left out."""
        masks = []
        if self.query_cameras is not None and self.gallery_cameras is not None:
            cameras, others = self.query_cameras[at, None], self.gallery_cameras
            if self.exclusion.identity_and_camera:
                same = (cameras == others) & (self.query[at, None] == self.gallery)
                masks.append(same & (cameras > 0))
            masks += [(cameras == ours) & (others == theirs) for ours, theirs in self.exclusion.places]
        if self.junk is not None:
            masks.append(self.junk[at] if self.junk.ndim == 2 else self.junk.expand(at.stop - at.start, -1))
        excluded = None
        for mask in masks:
            excluded = mask if excluded is None else excluded | mask
        return excluded

    def _identities_ahead(self, places: Tensor) -> Tensor:
        """`(rows,)`: the number of identities at or ahead of the best match, its own counted through that match."""
        seen = torch.zeros(len(places), self.positions, dtype=torch.bool, device=places.device)
        rows, columns = (places == 0).nonzero(as_tuple=True)
        seen[rows, self.gallery[columns].long()] = True
        return seen.sum(dim=1)


def _refuse_non_finite(distances: Tensor, start: int) -> None:
    low, high = distances.aminmax()
    limit = torch.finfo(distances.dtype).max / 4
    if bool((low > -limit) & (high < limit)):
        return
    bad = distances.isnan() | (distances.abs() >= limit)
    row, column = (int(i) for i in bad.nonzero()[0])
    kind = "NaN" if bool(distances[row, column].isnan()) else "not finite"
    raise ValueError(
        f"the distance of query {start + row} to gallery entry {column} is {kind}; leave entries out by the junk mask."
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
