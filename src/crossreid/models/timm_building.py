"""timm's networks built without their classifier, with as much of what is asked of all as the one at hand takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

Size = tuple[int, int]
# Not every network takes all of it: the first that one takes is its own.
FOR_ONE_SIZE: tuple[dict[str, Any], ...] = ({"global_pool": "", "dynamic_img_size": False}, {"global_pool": ""}, {})
FOR_ANY_SIZE: tuple[dict[str, Any], ...] = ({"global_pool": "", "dynamic_img_size": True}, {"global_pool": ""}, {})


def build_headless(
    architecture: str, arguments: Mapping[str, Any], *, size: Size | None = None, pretrained: bool = False
) -> nn.Module:
    """timm's network of that name without classifier and pooling.

    Args:
        arguments: what it is built with beside timm's defaults.
        size: height and width of the images that it is built for; None for its own size, or for any where it takes any.

    Raises:
        Exception: whatever timm and its networks raise.
    """
    given = dict(arguments) if size is None else {**arguments, "img_size": size}
    *tries, last = FOR_ANY_SIZE if size is None else FOR_ONE_SIZE
    for extra in tries:
        try:
            network: nn.Module = timm.create_model(
                architecture, pretrained=pretrained, num_classes=0, **{**given, **extra}
            )
        except (TypeError, AssertionError):
            continue
        return network
    return timm.create_model(architecture, pretrained=pretrained, num_classes=0, **{**given, **last})


def frozen(arguments: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Arguments of a network as a value that a cache can compare."""
    return tuple(sorted((key, tuple(value) if isinstance(value, list) else value) for key, value in arguments.items()))
