"""Ranking on an accelerator: blocks are counted one after the other, and the host waits once for all of them.

For a query, all gallery entries of its identity are counted, matches and those that the camera rule leaves out; the
rank of a match is then its count minus the number of left-out entries ahead of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crossreid.evaluation.counting import NOTHING, Block, count
from crossreid.evaluation.kernel import measure_rows
from crossreid.evaluation.measures import Ranking

if TYPE_CHECKING:
    from crossreid.evaluation.ranking import Ranker

_ARRAYS = (
    "begin", "size", "members", "codes", "query", "query_cameras", "gallery_cameras", "query_frames", "gallery_frames", "mask_of",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Started:
    """What a device computes for some queries: `(R, M + 3)` int32, the rank of each match in order with zeros in
    between, then the number of entries left out by camera, of identities ahead, and the refused entry, as in `Counts`;
    `nearest` `(R,)`."""

    at: slice
    table: Tensor
    nearest: Tensor | None


class DeviceRanker:
    """The arrays of a `Ranker` on a device, copied there once."""

    def __init__(self, ranker: Ranker, device: torch.device | str) -> None:
        self.ranker, self.device = ranker, device
        there = np.maximum(ranker.query, 0)
        size = np.where(ranker.query >= 0, ranker.starts[there + 1] - ranker.starts[there], 0)
        self.most = max(1, int(size.max()))
        mask_of = np.where(ranker.mask_of < 0, len(ranker.masks), ranker.mask_of)  # the row that keeps all
        arrays = {**vars(ranker), "begin": ranker.starts[there], "size": size, "mask_of": mask_of}
        parts = [np.asarray(arrays[name]).astype(np.int64, copy=False) for name in _ARRAYS]
        together = torch.from_numpy(np.concatenate(parts)).to(
            device, non_blocking=True
        )  # one copy: each one costs time
        self.arrays = dict(zip(_ARRAYS, together.split([len(part) for part in parts]), strict=True))

    @cached_property
    def masks(self) -> Tensor | None:
        masks = self.ranker.masks
        if not len(masks):
            return None
        if (self.ranker.mask_of < 0).any():
            masks = np.concatenate([masks, np.ones((1, masks.shape[1]), np.uint8)])
        return torch.from_numpy(masks).to(self.device, non_blocking=True)

    def start(
        self, at: slice, distances: Tensor, picked: np.ndarray | None, nearest: bool, fused: bool | None = None
    ) -> Started:
        """Start counting for the queries `at`, from distances `(R, P)`, without waiting.

        `picked` `(G,)` int64 are the gallery's columns, None for all in order.
        """
        columns = None if picked is None else torch.from_numpy(picked).to(self.device, non_blocking=True)
        arrays, ranker = self.arrays, self.ranker
        slots = torch.arange(self.most, device=self.device)
        inside = slots < arrays["size"][at, None]
        entries = arrays["members"][(arrays["begin"][at, None] + slots).clamp_(max=len(ranker.codes) - 1)]
        masks, mask_of = self.masks, None
        if masks is not None:
            mask_of = arrays["mask_of"][at]
            inside &= masks[mask_of[:, None], entries] != 0
        dropped = torch.zeros_like(inside)
        if len(ranker.gallery_cameras):
            cameras = arrays["query_cameras"][at, None]
            dropped = inside & (cameras > 0) & (arrays["gallery_cameras"][entries] == cameras)
            if ranker.gap >= 0:
                away = (arrays["gallery_frames"][entries] - arrays["query_frames"][at, None]).abs()
                dropped &= away <= ranker.gap
        match = inside & ~dropped
        found = distances.gather(1, entries if columns is None else columns[entries])
        bounds = found.masked_fill(~inside, -torch.inf)
        places = entries.to(torch.int32)
        block = Block(distances, columns, bounds, places, masks, mask_of)
        if ranker.first_only:
            best = found.masked_fill(~match, torch.inf).amin(dim=1)
            there = places.masked_fill(~(match & (found == best[:, None])), NOTHING).amin(dim=1)
            block = Block(
                distances, columns, bounds, places, masks, mask_of, arrays["codes"], len(ranker.starts) - 1,
                arrays["query"][at], best, there,
            )  # fmt: skip
        counts = count(block, fused)
        # No two entries have the same count, so counts sort like distances with ties broken by position.
        ahead, order = counts.ahead.masked_fill_(~inside, NOTHING).sort(dim=1)
        left_out = dropped.gather(1, order).cumsum(dim=1, dtype=torch.int32)
        ranks = (ahead - left_out + 1).masked_fill_(~match.gather(1, order), 0)
        identities = torch.zeros_like(counts.refused) if counts.identities is None else counts.identities
        table = torch.cat([ranks, left_out[:, -1:], identities[:, None], counts.refused[:, None]], dim=1)
        return Started(at, table, self._nearest(at, distances, columns) if nearest else None)

    def _nearest(self, at: slice, distances: Tensor, columns: Tensor | None) -> Tensor:
        own = distances if columns is None else distances.index_select(1, columns)
        left_out = self.ranker.excluded(at)
        excluded = None if left_out is None else torch.from_numpy(left_out).to(self.device, non_blocking=True)
        return (own if excluded is None else own.masked_fill(excluded, torch.inf)).amin(dim=1).double()

    def finish(self, parts: Sequence[Started]) -> Ranking:
        """Return the ranking of the queries of all parts, in order.

        Raises:
            CrossreidError: naming the first distance that is not finite.
        """
        from crossreid.evaluation.ranking import refused

        ranker = self.ranker
        table = torch.cat([part.table for part in parts]).cpu().numpy()
        rows = np.concatenate([np.arange(len(ranker.query))[part.at] for part in parts])
        bad = np.flatnonzero(table[:, -1] != NOTHING)
        if len(bad):
            entry, nan = divmod(int(table[bad[0], -1]), 2)
            raise refused(int(rows[bad[0]]), entry, bool(nan))
        first, matches = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        precision, penalty = np.zeros(len(rows)), np.zeros(len(rows))
        measure_rows(table[:, :-3], ranker.trapezoid, first, precision, penalty, matches)
        if ranker.first_only:
            first = np.where(matches > 0, 1 + table[:, -2].astype(np.int64), 0)
        mask_of = ranker.mask_of[rows]
        kept = np.full(len(rows), len(ranker.codes))
        kept[mask_of >= 0] = ranker.kept_by[mask_of[mask_of >= 0]]
        near = [part.nearest for part in parts if part.nearest is not None]
        nearest = torch.cat(near).cpu().numpy() if len(near) == len(parts) else None
        return Ranking(ranker.positions, first, precision, penalty, matches, kept - table[:, -3], nearest)
