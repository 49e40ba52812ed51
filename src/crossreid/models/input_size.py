"""Which networks are built for one image size, and for which sizes they can be built.

Transformers have a position for each patch, or tables and masks whose size depends on their windows. timm builds those
for one size, and resamples loaded ones to it. Whether a network can be built for a size is found by building it without
memory (torch's device `meta`) and passing an image of that size through it, so there are no rules per family.
"""

from __future__ import annotations

import inspect
import itertools
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.timm_building import Size, build_headless, frozen
from crossreid.models.timm_names import TimmModel, find_timm_model

STEP = 32  # of the sizes tried if a network does not name its patches


def is_built_for_a_size(name: str) -> bool:
    """Whether a timm model is built for one image size; False if there is no such model.

    Raises:
        CrossreidError: for a hub name, as raised by `find_timm_model`.
    """
    model = find_timm_model(name)
    return model is not None and model.described is not None and bool(model.described.fixed_input_size)


def takes_input_size(factory: Any) -> bool:
    """Whether the function that makes a registered backbone has a parameter `input_size`."""
    return "input_size" in inspect.signature(factory).parameters


def size_to_build_for(name: str, size: Size) -> Size | None:
    """The size to build a timm model for, given images `(height, width)`; None if it takes them as it is.

    Raises:
        CrossreidError: it does not take such images, or would cut off their rim; the nearest sizes that it takes are
            named.
    """
    model = find_timm_model(name)
    if model is None:
        return None
    arguments = frozen(model.arguments)
    patch, fault = _tried(model.architecture, arguments, size)
    if not fault:
        return size
    if not _tried(model.architecture, arguments, size, sized=False)[1]:
        return None
    near = _nearest(model, size, patch)
    hint = f" Nearest: {' or '.join(f'{h} x {w}' for h, w in near)} (data.height x data.width)." if near else ""
    raise CrossreidError(f"backbone {name!r} takes no images of {size[0]} x {size[1]} pixels: {fault}.{hint}")


def _nearest(model: TimmModel, size: Size, patch: Size | None) -> list[Size]:
    """The sizes nearest to `size`, at most two, that the model takes, on the grid of its patches or of `STEP`."""
    arguments = frozen(model.arguments)
    for steps in (patch, (STEP, STEP)):
        if steps is None:
            continue
        heights, widths = (
            {max(side // step, 1) * step, -(-side // step) * step} for side, step in zip(size, steps, strict=True)
        )
        sizes = sorted(
            ((h, w) for h in heights for w in widths), key=lambda s: (abs(s[0] - size[0]) + abs(s[1] - size[1]), s)
        )
        takes = (s for s in sizes if s != size and not _tried(model.architecture, arguments, s)[1])
        if found := list(itertools.islice(takes, 2)):
            return found
    return []


@lru_cache(maxsize=256)
def _tried(
    architecture: str, arguments: tuple[tuple[str, Any], ...], size: Size, *, sized: bool = True
) -> tuple[Size | None, str]:
    """The model's patches, if it names them, and what is wrong with images of `size`; empty if nothing is.

    Args:
        sized: whether to build the model for that size, or for its own.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            network = build_headless(architecture, dict(arguments), size=size if sized else None)
        except Exception as error:  # timm's models raise any exception
            return None, _reason(error)
        patch = _patch(network)
        if patch is not None and (size[0] % patch[0] or size[1] % patch[1]):
            return patch, f"its patches are {patch[0]} x {patch[1]}, which do not divide them"
        try:
            with torch.no_grad():
                maps = network.eval().forward_features(torch.empty(1, 3, *size))  # type: ignore[operator]
        except Exception as error:
            return patch, _reason(error)
    if not isinstance(maps, Tensor) or maps.ndim not in (3, 4):
        return patch, "it gives no feature map"
    return patch, ""


def _patch(network: nn.Module) -> Size | None:
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if isinstance(patch, int):
        return patch, patch
    return (int(patch[0]), int(patch[1])) if isinstance(patch, tuple | list) and len(patch) == 2 else None


def _reason(error: Exception) -> str:
    """The model's message about a size if it checks sizes; any other error would not help a user."""
    said = (str(error).splitlines() or [""])[0].rstrip(".")
    return said if isinstance(error, AssertionError) and said else "its windows or tables do not fit them"
