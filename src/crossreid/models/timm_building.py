"""timm's networks built without their classifier, with those of the common arguments that each one accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

Size = tuple[int, int]
# Not every network accepts all of these: the first set that one accepts is used.
FOR_ONE_SIZE: tuple[dict[str, Any], ...] = ({"global_pool": "", "dynamic_img_size": False}, {"global_pool": ""}, {})
FOR_ANY_SIZE: tuple[dict[str, Any], ...] = ({"global_pool": "", "dynamic_img_size": True}, {"global_pool": ""}, {})


def build_headless(
    architecture: str, arguments: Mapping[str, Any], *, size: Size | None = None, pretrained: bool = False
) -> nn.Module:
    """Build timm's network of that name without classifier and pooling.

    Args:
        arguments: passed in addition to timm's defaults.
        size: height and width of the images that it is built for; None for its own size, or for any if it takes any.

    Raises:
        Exception: any that timm and its networks raise.
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
    """Arguments of a network as a hashable value, for caching."""
    return tuple(sorted((key, tuple(value) if isinstance(value, list) else value) for key, value in arguments.items()))
