"""The counting of `crossreid.evaluation.counting` as one Triton kernel: each distance is read once for all matches of
a query.

A program handles one query, some of its candidates and a part of the gallery. Most parts of a gallery are farther than
all candidates; a tile of distances is compared with each candidate only if its nearest distance is not.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl

from crossreid.evaluation.counting import NOTHING, Block, Counts, limit_of

TILE = 1024  # distances read at a time
STEP = 128  # of those, compared at a time: the threads of a program hold STEP x WIDTH counters
WIDTH = 32  # candidates per program
PART = 16 * TILE  # distances per program


# Pointers are named after the fields of `Block`; all tensors are contiguous.
@triton.jit
def count_ahead(  # type: ignore[no-untyped-def]
    distances, columns, bounds, places, masks, mask_of, codes, own, best, best_place, ahead, refused, seen,
    stride, entries, most, identities,
    PICKED: tl.constexpr, MASKED: tl.constexpr, SEEN: tl.constexpr, LIMIT: tl.constexpr, NONE: tl.constexpr,
    TILE: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    slots = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    bound = tl.load(bounds + row * most + slots, mask=slots < most, other=-float("inf"))
    place = tl.load(places + row * most + slots, mask=slots < most, other=0)
    top = tl.max(bound, axis=0)
    begin = tl.program_id(1) * PART
    line = distances + row * stride
    if MASKED:
        mask = masks + tl.load(mask_of + row) * entries
    if SEEN:
        nearest, nearest_place, mine = tl.load(best + row), tl.load(best_place + row), tl.load(own + row)
        top = tl.maximum(top, nearest)
    found = tl.zeros((STEP, WIDTH), dtype=tl.int32)
    bad = tl.full((), NONE, dtype=tl.int32)
    for start in range(begin, tl.minimum(begin + PART, entries), TILE):
        entry = start + tl.arange(0, TILE)
        at = entry.to(tl.int64)
        if PICKED:
            at = tl.load(columns + entry, mask=entry < entries, other=0)
        values = tl.load(line + at, mask=entry < entries, other=float("inf"))
        wrong = (entry < entries) & ~(tl.abs(values) < LIMIT)
        bad = tl.minimum(bad, tl.min(tl.where(wrong, 2 * entry + (values != values).to(tl.int32), NONE), axis=0))
        if tl.min(values, axis=0) <= top:
            for inner in range(0, TILE, STEP):
                one = start + inner + tl.arange(0, STEP)
                kept = one < entries
                where = one.to(tl.int64)
                if PICKED:
                    where = tl.load(columns + one, mask=kept, other=0)
                value = tl.load(line + where, mask=kept, other=float("inf"))
                if MASKED:
                    kept = kept & (tl.load(mask + one, mask=kept, other=0) != 0)
                nearer = value[:, None] < bound[None, :]
                equal = (value[:, None] == bound[None, :]) & (one[:, None] < place[None, :])
                found += ((nearer | equal) & kept[:, None]).to(tl.int32)
                if SEEN:
                    code = tl.load(codes + one, mask=kept, other=0)
                    others = (value < nearest) | ((value == nearest) & (one < nearest_place))
                    tl.store(seen + row * identities + code, 1, mask=others & kept & (code != mine))
    tl.atomic_add(ahead + row * most + slots, tl.sum(found, axis=0), mask=slots < most)
    if bad != NONE:
        tl.atomic_min(refused + row, bad)


def count_fused(block: Block) -> Counts:
    """Return the counts of a block by the kernel, with distances on CUDA, or anywhere if Triton interprets."""
    distances = block.distances if block.distances.stride(1) == 1 else block.distances.contiguous()
    rows, most = block.bounds.shape
    device = distances.device
    ahead = torch.zeros(rows, most, dtype=torch.int32, device=device)
    refused = torch.full((rows,), NOTHING, dtype=torch.int32, device=device)
    several = block.codes is not None
    seen = torch.zeros(rows if several else 1, max(1, block.identities), dtype=torch.int8, device=device)
    grid = (rows, triton.cdiv(block.entries, PART), triton.cdiv(most, WIDTH))
    with torch.cuda.device_of(distances):  # Triton launches on the current device, which may be another
        count_ahead[grid](
            distances, *(_there(part, distances) for part in (
                block.columns, block.bounds, block.places, block.masks, block.mask_of, block.codes, block.own, block.best,
                block.best_place)), ahead, refused, seen, distances.stride(0), block.entries, most, block.identities,
            PICKED=block.columns is not None, MASKED=block.masks is not None, SEEN=several,
            LIMIT=limit_of(distances.dtype), NONE=NOTHING, TILE=TILE, STEP=STEP, WIDTH=WIDTH, PART=PART,
        )  # fmt: skip
    return Counts(ahead, refused, seen.sum(dim=1, dtype=torch.int32) if several else None)


def _there(part: torch.Tensor | None, instead: torch.Tensor) -> torch.Tensor:
    """Return a tensor for a pointer, or `instead` for one that is not followed."""
    return instead if part is None else part.contiguous()


def prove() -> None:
    """Run the kernel on two distances, so that a failing build shows before anything depends on it."""
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    distances = torch.tensor([[1.0, 2.0]], device=device)
    count_fused(Block(distances, None, distances[:, 1:], torch.ones(1, 1, dtype=torch.int64, device=device)))
