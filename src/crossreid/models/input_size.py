"""Networks that are built for one size of image: which those are, and which sizes they can be built for.

Transformers hold a position for each patch, or tables and masks as large as their windows. timm builds those for a
size, and resamples what it loads to it. Whether a network can be built for a size is found by building it without
memory (torch's device `meta`) and passing an image of that size through it: no rule of ours, and no family is
forgotten.
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

STEP = 32  # of sizes that are tried where a network names no patches of its own


def is_built_for_a_size(name: str) -> bool:
    """Whether a timm model is built for one size of image; False for a name that is none.

    Raises:
        CrossreidError: of a name of the hub, as `find_timm_model` does.
    """
    model = find_timm_model(name)
    return model is not None and model.described is not None and bool(model.described.fixed_input_size)


def takes_input_size(factory: Any) -> bool:
    """Whether the function that makes a registered backbone has a parameter `input_size`."""
    return "input_size" in inspect.signature(factory).parameters


def size_to_build_for(name: str, size: Size) -> Size | None:
    """The size that a timm model is to be built for, given images `(height, width)`; None where it takes them as it is.

    Raises:
        CrossreidError: it takes no such images, or would cut their rim off; the nearest sizes that it takes are named.
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
    """The sizes nearest to `size`, at most two, that the model takes, on the grid of its patches or else of `STEP`."""
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
    """The model's patches, where it names them, and what is wrong with images of `size`; empty where nothing is.

    Args:
        sized: whether the model is built for that size, or for the one that is its own.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            network = build_headless(architecture, dict(arguments), size=size if sized else None)
        except Exception as error:  # timm's models raise what they come across
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
    """What a model says of a size where it was made to say it; what it merely came across says nothing to people."""
    said = (str(error).splitlines() or [""])[0].rstrip(".")
    return said if isinstance(error, AssertionError) and said else "its windows or tables do not fit them"
