"""Compute ranks by counting, for blocks of queries at once, on any device and without waiting for it.

The rank of a match is 1 plus the number of kept entries ahead of it: nearer ones, and equally near ones earlier in the
gallery. So one pass over the distances counts for all matches of a query at once, and nothing is sorted. On CUDA the
pass is one kernel if Triton is available (`crossreid.evaluation.fused_counting`); elsewhere whole blocks are compared,
with the same result. Nothing here reads a value from the device: the largest number of matches is known on the host
beforehand.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = 2**31 - 1  # for a row without refused distances
_HELD = 1 << 26  # comparisons held at a time


@dataclass(frozen=True, eq=False)
class Block:
    """Distances of some queries, and the entries to rank in them; all tensors on one device.

    distances `(R, P)`, of which `columns` `(G,)` are the gallery's, None for all in order. `bounds` `(R, M)` are the
    distances of candidates, -inf if there are fewer than M, and `places` `(R, M)` their gallery indices. `masks` `(K,
    G)` uint8 hold 1 for kept entries, and `mask_of` `(R,)` is each query's mask; None if all are kept. With identity
    `codes` `(G,)` of the entries, of which there are `identities`, and `own` `(R,)` of the queries, the other
    identities are also counted that have a kept entry ahead of `best` `(R,)`, at `best_place` `(R,)`.
    """

    distances: Tensor
    columns: Tensor | None
    bounds: Tensor
    places: Tensor
    masks: Tensor | None = None
    mask_of: Tensor | None = None
    codes: Tensor | None = None
    identities: int = 0
    own: Tensor | None = None
    best: Tensor | None = None
    best_place: Tensor | None = None

    @property
    def entries(self) -> int:
        return self.distances.shape[1] if self.columns is None else len(self.columns)


@dataclass(frozen=True, eq=False)
class Counts:
    """`ahead` `(R, M)`: the kept entries ahead of each candidate, 0 if there is none; `identities` `(R,)`, if
    requested: the other identities ahead. `refused` `(R,)`: twice the first entry whose distance is not finite, plus 1
    if it is NaN."""

    ahead: Tensor
    refused: Tensor
    identities: Tensor | None = None


def count(block: Block, fused: bool | None = None) -> Counts:
    """Count in one fused pass if there is one for the device (or as `fused` says), else by comparisons."""
    if block.distances.is_cuda if fused is None else fused:
        run = fused_pass()
        if run is not None:
            return run(block)
    return compared(block)


@functools.cache
def fused_pass():  # type: ignore[no-untyped-def]
    """Return the fused pass, or None if Triton is missing or cannot build it, which is reported once."""
    if importlib.util.find_spec("triton") is None:
        return None
    from crossreid.evaluation import fused_counting

    try:
        fused_counting.prove()
    except Exception as error:  # whatever a missing compiler raises
        warnings.warn(
            f"ranking: Triton cannot build its kernel ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); "
            "ranks are counted by PyTorch alone, with the same result but slower.",
            stacklevel=2,
        )
        return None
    return fused_counting.count_fused


def compared(block: Block) -> Counts:
    """Count by comparisons in PyTorch, a few candidates and rows at a time."""
    distances = block.distances if block.columns is None else block.distances.index_select(1, block.columns)
    rows, entries = distances.shape
    step = max(1, _HELD // entries)
    parts = [_compared_rows(block, distances, slice(start, min(start + step, rows))) for start in range(0, rows, step)]
    ahead, refused, identities = zip(*parts, strict=True)
    return Counts(torch.cat(ahead), torch.cat(refused), torch.cat(identities) if block.codes is not None else None)


def _compared_rows(block: Block, distances: Tensor, at: slice) -> tuple[Tensor, Tensor, Tensor]:
    own, bounds, places = distances[at], block.bounds[at], block.places[at]
    entry = torch.arange(own.shape[1], device=own.device)
    kept = None
    if block.masks is not None and block.mask_of is not None:
        kept = block.masks[block.mask_of[at]] != 0
    step = max(1, _HELD // own.numel())
    ahead = torch.cat(
        [
            _ahead(own[:, None], entry, bounds[:, start : start + step, None], places[:, start : start + step, None],
                   None if kept is None else kept[:, None]).sum(dim=2, dtype=torch.int32)
            for start in range(0, bounds.shape[1], step)
        ],
        dim=1,
    )  # fmt: skip
    bad = ~(own.abs() < limit_of(own.dtype))  # NaN compares as false
    first = bad.to(torch.uint8).argmax(dim=1, keepdim=True)
    found = own.gather(1, first)
    refused = torch.where(bad.gather(1, first), 2 * first + found.isnan(), NOTHING)[:, 0].to(torch.int32)
    if block.codes is None:
        return ahead, refused, refused
    assert block.own is not None
    assert block.best is not None
    assert block.best_place is not None
    nearer = _ahead(own, entry, block.best[at, None], block.best_place[at, None], kept)
    nearer &= block.codes != block.own[at, None]
    seen = torch.zeros(len(own), block.identities, dtype=torch.int32, device=own.device)
    seen.scatter_add_(1, block.codes.expand(len(own), -1), nearer.to(torch.int32))
    return ahead, refused, (seen > 0).sum(dim=1, dtype=torch.int32)


def _ahead(distances: Tensor, entry: Tensor, bounds: Tensor, places: Tensor, kept: Tensor | None) -> Tensor:
    found = torch.where(entry < places, distances <= bounds, distances < bounds)
    return found if kept is None else found & kept


def limit_of(dtype: torch.dtype) -> float:
    """Return the limit at which distances are refused, because their differences may overflow."""
    return torch.finfo(dtype).max / 4
