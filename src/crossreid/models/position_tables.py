"""Position tables in weights, resampled to the size that a network is built for, by timm's own function.

A transformer adds a vector to each patch, from a table `(1, prefix + h * w, D)` for images of `h` by `w` patches. Files
give only its length: h and w are assumed equal if that fits, and otherwise in the proportion closest to that of the
network's own grid.
"""

from __future__ import annotations

import math

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

Grid = tuple[int, int]
TABLES = {"pos_embed", "visual.positional_embedding"}  # their names in timm's networks and in CLIP's


def grid_of(network: nn.Module) -> Grid | None:
    """Patches of an image, down and across, for a network that has one vector for each; None for others."""
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    table = getattr(network, "pos_embed", None)
    if not isinstance(grid, tuple | list) or len(grid) != 2 or not isinstance(table, Tensor) or table.ndim != 3:
        return None
    return int(grid[0]), int(grid[1])


def resampled(
    table: Tensor, network: nn.Module, *, old: Grid | None = None, squares_first: bool = False
) -> tuple[Tensor, str]:
    """A file's table `(1, N, D)` or `(N, D)` for `network`'s grid, and a text on what was done; empty if nothing.

    Args:
        old: the grid of the table, if it is known and the table is long enough for it.
        squares_first: whether to assume that a table that may be square is square, even if the network's own grid has
            the same length.
    """
    grid = grid_of(network)
    if grid is None:
        return table, ""
    rows = table if table.ndim == 3 else table[None]
    own = int(network.pos_embed.shape[1]) - grid[0] * grid[1]  # type: ignore[operator, union-attr, index]
    prefix = own
    if old is None or own < 0 or rows.shape[1] != own + old[0] * old[1]:
        prefix, old = _layout(rows.shape[1], grid, own, squares_first)
    if old is None or old == grid:
        return table, ""
    fitted = on_grid(rows, old, grid, prefix=prefix)
    said = f"position embeddings resampled from {old[0]} x {old[1]} to {grid[0]} x {grid[1]} patches"
    return (fitted if table.ndim == 3 else fitted[0]), said


def on_grid(table: Tensor, old: Grid, new: Grid, *, prefix: int) -> Tensor:
    """Resample positions `(1, prefix + h w, D)` from the grid `old` to `new`; those before the patches stay."""
    return resample_abs_pos_embed(table, new_size=list(new), old_size=list(old), num_prefix_tokens=prefix)


def _layout(rows: int, grid: Grid, own: int, squares_first: bool) -> tuple[int, Grid | None]:
    """The number of rows before the patches, and the patches' grid; None if no grid of the network's kind fits."""
    squares, same = [], []
    prefixes = dict.fromkeys([own, 1, 0, 2])  # of class and register tokens, which have no position in the image
    for prefix in prefixes:
        side = math.isqrt(max(rows - prefix, 0))
        if side and side * side == rows - prefix:
            squares.append((prefix, (side, side)))
        if rows - prefix == grid[0] * grid[1]:
            same.append((prefix, grid))
    likely = (
        [*squares, *same] if squares_first and squares and same and squares[0][0] == same[0][0] else [*same, *squares]
    )
    if likely:
        return likely[0]
    for prefix in prefixes:
        if (found := _nearest_grid(rows - prefix, grid)) is not None:
            return prefix, found
    return own, None


def _nearest_grid(patches: int, like: Grid) -> Grid | None:
    """Two factors of `patches` in the proportion closest to `like`; None if none is within a factor of two."""
    pairs = [(h, patches // h) for h in range(1, patches + 1) if patches % h == 0] if patches > 0 else []
    wanted = math.log(like[0] / like[1])
    off = {pair: abs(math.log(pair[0] / pair[1]) - wanted) for pair in pairs}
    best = min(off, key=lambda pair: off[pair], default=None)
    return best if best is not None and off[best] < math.log(2) else None
