"""A transformer's tokens as a map of the image, without class and register tokens, and the grid they lie on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

Size = tuple[int, int]


def as_map(features: Tensor, network: nn.Module, size: Size) -> Tensor:
    """Convert the output of `network.forward_features` for images of `size` (H, W) to a map `(B, width, h, w)`.

    Tokens `(B, tokens, width)` lose those that are not patches; if the grid is unknown the map is
    `(B, width, tokens, 1)`. Maps `(B, h, w, width)` are permuted.
    """
    width = int(network.num_features)  # type: ignore[arg-type]
    if features.ndim == 3:
        prefix = prefix_tokens(network)
        grid = patch_grid(getattr(network, "patch_embed", None), size)
        count = int(features.shape[1]) - prefix
        if (grid is None or grid[0] * grid[1] != count) and not hasattr(network, "unroll"):  # Hiera's are not in rows
            grid = _even_grid(count, size)
        return patches_as_map(features, prefix, grid)
    if features.shape[1] != width and features.shape[-1] == width:
        return features.permute(0, 3, 1, 2)
    return features


def prefix_tokens(network: nn.Module) -> int:
    """The number of leading tokens that are not patches (class, distillation, registers)."""
    return int(getattr(network, "num_prefix_tokens", None) or 0)


def patches_as_map(tokens: Tensor, prefix: int, grid: Size | None) -> Tensor:
    """Tokens `(B, prefix + h * w, width)`, row by row, as a map `(B, width, h, w)` without the first `prefix`."""
    patches = tokens[:, prefix:].transpose(1, 2)
    count = int(patches.shape[2])
    if grid is None or grid[0] * grid[1] != count:
        grid = (count, 1)
    return patches.unflatten(2, grid)


def patch_grid(embedding: Any, size: Size) -> Size | None:
    """Rows and columns of patches that a patch embedding makes of an image of `size` (H, W); None if unknown.

    Taken from the convolution that embeds the patches, so that overlapping patches, and sizes other than the network's
    own, are counted correctly.
    """
    kernel = getattr(embedding, "proj", None)
    if isinstance(kernel, nn.Conv2d) and not hasattr(embedding, "backbone"):
        padded = [
            -(-side // patch) * patch if getattr(embedding, "dynamic_img_pad", False) else side
            for side, patch in zip(size, kernel.kernel_size, strict=True)
        ]
        given = zip(padded, _padding(kernel), kernel.kernel_size, kernel.stride, strict=True)
        rows, columns = ((side + 2 * around - patch) // stride + 1 for side, around, patch, stride in given)
        return rows, columns
    if hasattr(embedding, "dynamic_feat_size"):
        rows, columns = embedding.dynamic_feat_size(size)
        return int(rows), int(columns)
    return None


def _even_grid(count: int, size: Size) -> Size | None:
    """The grid of `count` tokens with the image's aspect ratio, if there is one."""
    rows = round(math.sqrt(count * size[0] / size[1]))
    even = rows > 0 and count % rows == 0 and rows * size[1] == count // rows * size[0]
    return (rows, count // rows) if even else None


def _padding(kernel: nn.Conv2d) -> Size:
    return (0, 0) if isinstance(kernel.padding, str) else (int(kernel.padding[0]), int(kernel.padding[1]))


def forward_small(network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """A small blank image that `network` takes, and its output in evaluation mode; None if it takes none."""
    device = next((parameter.device for parameter in network.parameters()), None)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            for height, width in _small_sizes(network):
                image = torch.zeros(1, 3, height, width, device=device)
                try:
                    return image, network.forward_features(image)  # type: ignore[operator]
                except (RuntimeError, AssertionError, AttributeError):
                    continue
    finally:
        network.train(training)
    return None


def _small_sizes(network: nn.Module) -> Iterator[Size]:
    """The single size that a recipe built it for; 96 x 96 pixels; six patches each way; the network's own size."""
    built_for: Any = getattr(network, "built_for", None)
    if built_for is not None:
        yield built_for
    yield 96, 96
    embedding: Any = getattr(network, "patch_embed", None)
    patch = getattr(embedding, "patch_size", None)
    if isinstance(patch, tuple) and len(patch) == 2:
        yield 6 * int(patch[0]), 6 * int(patch[1])
    made_for = getattr(embedding, "img_size", None)
    if isinstance(made_for, tuple) and len(made_for) == 2:
        yield int(made_for[0]), int(made_for[1])
    described: Any = getattr(network, "default_cfg", None) or getattr(network, "pretrained_cfg", None) or {}
    if described.get("input_size"):
        yield int(described["input_size"][1]), int(described["input_size"][2])
