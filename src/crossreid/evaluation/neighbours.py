"""Nearest neighbours in one set of embeddings, with the same result on every device.

One matrix product gives all squared distances to within a bound that holds for any order of summation; the few
candidates for the nearest are computed again in float64, as sums of squared differences, which lose nothing to
cancellation and are 0 between equal rows. Distances closer to each other than 2^-36 of the largest squared length are
ties, so that no decision depends on a device's rounding; the earlier index comes first.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from crossreid.evaluation.distances import full_precision, prepared, squared_lengths
from crossreid.evaluation.pair_kernel import squared_distances
from crossreid.evaluation.threads import in_threads

_MORE = 12  # entries examined beyond the nearest k at first


class Rows:
    """N rows to compute squared Euclidean distances of, as they are or each divided by its length (cosine)."""

    def __init__(self, query: Tensor, gallery: Tensor, metric: str) -> None:
        self.given = torch.cat(prepared(query, gallery, "euclidean"))
        self.products = self.given if metric == "euclidean" else torch.cat(prepared(query, gallery, metric))
        self.squares = squared_lengths(self.products)
        self.scale = None if metric == "euclidean" else self._inverse_lengths()
        longest = 1.0 if self.scale is not None else float(self.squares.max())
        self.grain = 2.0 ** (math.frexp(1.5 * max(longest, 1e-200))[1] - 36)
        # (D + 3) u (|a| + |b|)^2 bounds the error of |a|^2 + |b|^2 - 2 a.b; twice that for rows normalised in this
        # precision.
        share = (self.given.shape[1] + 16) * torch.finfo(self.given.dtype).eps / (2 if self.scale is None else 1)
        lengths = self.squares.sqrt()
        self.error = (share * (lengths + lengths.max()) ** 2).double() + self.grain

    def __len__(self) -> int:
        return len(self.given)

    def _inverse_lengths(self) -> Tensor:
        step = max(1, (1 << 22) // self.given.shape[1])
        parts = [self.given[i : i + step].double().square().sum(dim=1) for i in range(0, len(self.given), step)]
        return torch.cat(parts).rsqrt()[:, None]

    def approximate(self, at: slice, others: slice = slice(None)) -> Tensor:
        """Return squared distances `(R, M)` by a product, in the precision of the rows."""
        with full_precision():
            found = torch.addmm(self.squares[others], self.products[at], self.products[others].T, alpha=-2)
        return found.add_(self.squares[at, None]).clamp_(min=0)

    def exact(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the squared distances `(n,)` float64 of the listed pairs of rows."""
        found = torch.empty(len(left), dtype=torch.float64, device=self.given.device)
        (self._compiled if self.given.device.type == "cpu" else self._by_differences)(left, right, found)
        return found.div_(self.grain).round_().mul_(self.grain)

    def _compiled(self, left: Tensor, right: Tensor, found: Tensor) -> None:
        rows, one, other, out = (part.numpy() for part in (self.given, left.contiguous(), right.contiguous(), found))
        scale = np.zeros(0) if self.scale is None else self.scale.numpy()[:, 0]

        def part(at: slice) -> None:
            squared_distances(rows, scale, one[at], other[at], out[at])

        in_threads(part, len(left), work=len(left) * rows.shape[1])

    def _by_differences(self, left: Tensor, right: Tensor, found: Tensor) -> None:
        step = max(1, (1 << 26) // self.given.shape[1])
        for start in range(0, len(left), step):
            part = slice(start, start + step)
            apart = self._doubles(left[part]).sub_(self._doubles(right[part]))
            found[part] = apart.square_().sum(dim=1)

    def _doubles(self, rows: Tensor) -> Tensor:
        found = self.given[rows].double()
        return found if self.scale is None else found.mul_(self.scale[rows])


def nearest_neighbours(rows: Rows, k: int, shown: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest of each row `(N, k)`, including itself, and the largest squared distance from each `(N,)`
    float64.

    Rows from index `shown` on are not neighbours, unless there are fewer than k others; then they follow by index.
    """
    nearest, largest = [], []
    sought = min(k, shown)
    step = max(64, (1 << 24) // len(rows))
    for start in range(0, len(rows), step):
        at = slice(start, min(start + step, len(rows)))
        own = torch.arange(at.start, at.stop, device=rows.given.device)
        squares = rows.approximate(at)
        largest.append(rows.exact(own, squares.argmax(dim=1)))
        nearest.append(_nearest_of(rows, own, squares[:, :shown], sought))
    found = torch.cat(nearest)
    if sought < k:
        found = torch.cat(
            [found, torch.arange(shown, shown + k - sought, device=found.device).expand(len(found), -1)], dim=1
        )
    return found, torch.cat(largest).clamp(min=torch.finfo(torch.float32).tiny)


def _nearest_of(rows: Rows, own: Tensor, squares: Tensor, k: int) -> Tensor:
    """Return the indices `(R, k)` of the k nearest of the rows `own`, from their approximate squared distances
    `(R, M)`.
    """
    error = rows.error[own]
    some = min(k + _MORE, squares.shape[1])
    near, places = squares.topk(some, dim=1, largest=False)
    exact, places = _in_order(rows, own, places)
    found, last = places[:, :k].clone(), exact[:, k - 1]
    if some < squares.shape[1]:  # all entries as near as the last one must be among those examined
        unsure = (last + error >= near.amax(dim=1)).nonzero()[:, 0]
        if len(unsure):
            reach = (last + error)[unsure, None]
            most = int((squares[unsure] <= reach).sum(dim=1).max())
            step = max(1, (1 << 22) // most)
            for start in range(0, len(unsure), step):
                part = unsure[start : start + step]
                candidates = squares[part].topk(most, dim=1, largest=False)[1]
                found[part] = _in_order(rows, own[part], candidates)[1][:, :k]
    return found


def _in_order(rows: Rows, own: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return exact squared distances of candidates `(R, n)` and their indices, nearest first, ties by index."""
    places = places.sort(dim=1).values
    exact = rows.exact(own.repeat_interleave(places.shape[1]), places.flatten()).view(places.shape)
    exact, order = exact.sort(dim=1, stable=True)
    return exact, places.gather(1, order)
