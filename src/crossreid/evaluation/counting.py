"""Ranks by counting, for blocks of queries at once.

No gallery is sorted. The rank of a match is 1 plus the number of kept entries ahead of it, so each entry only has to be
put among the query's few sorted matches; a histogram of these positions, summed up, gives all ranks. An even grid over
the matches' distances settles the position of nearly every entry by one look-up, and a binary search that compares
(distance, position in the gallery) settles those that share a grid cell with a match, ties among them. The grid is
monotone in the distance, rounding included, so the result is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positions_among_matches(distances: Tensor, rows: Tensor, columns: Tensor, counts: Tensor) -> Tensor:
    """`(rows, G)` int64: the number of the query's matches that are ahead of each entry, ties by gallery order.

    `rows`, `columns` list the matches in row-major order, `counts` says how many each row has.
    """
    queries, entries = distances.shape
    most = int(counts.max())
    slot = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    near = distances.new_full((queries, most), torch.inf)
    near[rows, slot] = distances[rows, columns]
    where = torch.full((queries, most), entries, device=rows.device)
    where[rows, slot] = columns
    # The matches were filled in gallery order, so a stable sort orders equal ones by position.
    near, order = near.sort(dim=1, stable=True)
    where = where.gather(1, order)

    low = torch.where(counts > 0, near[:, 0], 0.0)
    high = torch.where(counts > 0, near.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    cells = min(max(64, 32 * most), 8192)
    scale = cells / (high - low)
    scale = torch.where(torch.isfinite(scale), scale, 1.0)
    # Cell 0 lies below the nearest match and the last cell beyond the farthest.
    cell = ((distances - low[:, None]) * scale[:, None]).add_(1.0).clamp_(0, cells + 2).long()
    cell += torch.arange(queries, device=rows.device)[:, None] * (cells + 3)
    held = torch.bincount(cell[rows, columns], minlength=queries * (cells + 3)).view(queries, -1)
    before = held.cumsum(dim=1) - held
    table = (before * 2 + (held > 0)).view(-1)
    positions = table[cell]
    row, column = (positions & 1).nonzero(as_tuple=True)
    positions >>= 1

    ours = distances[row, column]
    left = positions[row, column]
    right = left + held.view(-1)[cell[row, column]]
    for _ in range(int(held.max()).bit_length()):
        middle = (left + right) // 2
        probe = middle.clamp(max=most - 1)
        theirs = near[row, probe]
        ahead = (theirs < ours) | ((theirs == ours) & (where[row, probe] < column))
        ahead &= left < right
        left = torch.where(ahead, middle + 1, left)
        right = torch.where(ahead, right, middle)
    positions[row, column] = left
    return positions


def ranks_of_matches(positions: Tensor, most: int) -> Tensor:
    """`(rows, most)`: the 1-based rank of each match, from how many matches are ahead of each entry."""
    offsets = torch.arange(len(positions), device=positions.device)[:, None] * (most + 1)
    histogram = torch.bincount((positions + offsets).view(-1), minlength=len(positions) * (most + 1))
    return histogram.view(len(positions), most + 1).cumsum(dim=1)[:, :most]


def average_precision(ranks: Tensor, counts: Tensor, trapezoid: bool) -> Tensor:
    """`(rows,)` float64, by steps or by trapezoids; NaN where `counts` is 0."""
    number = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    precision = number / ranks
    if trapezoid:
        before = torch.where(ranks > 1, (number - 1) / (ranks - 1), 1.0)
        precision = (precision + before) / 2
    precision = torch.where(number <= counts[:, None], precision, 0.0)
    # A running sum adds in one order however wide the block is, so results do not depend on the blocks.
    total = precision.cumsum(dim=1).gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
    return total / counts  # 0 / 0 is the NaN of a skipped query
