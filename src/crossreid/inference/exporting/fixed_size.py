"""Tracing a network at one image size: values that depend only on the size are precomputed as constants.

A transformer resamples its position embeddings to the image's grid, by an antialiased interpolation that ONNX has no
operator for, and builds rotary positions for that grid. An exported file has one size, so both are the same in every
call. RMS norm, which that version of ONNX lacks, is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_ROTARY = "get_embed"  # the method of timm's rotary positions


@contextmanager
def fixed_size(network: nn.Module, images: Tensor, *others: Tensor) -> Iterator[None]:
    """Within the block `network`, in evaluation mode, uses precomputed positions for images of this size.

    `network` is first run twice. Interpolations that depend on the images are still computed.
    """
    made: list[list[Tensor]] = []
    rotary: dict[nn.Module, Tensor] = {}
    with torch.no_grad():
        for given in (images, torch.randn_like(images)):
            with (
                _Recorded() as recorded,
                _rotary_positions(network, lambda module, embed: rotary.setdefault(module, embed())),
            ):
                network(given, *others)
            made.append(recorded.made)
    fixed = [one if torch.equal(one, two) else None for one, two in zip(*made, strict=True)]
    with _rotary_positions(network, lambda module, _embed: rotary[module]), _Fixed(fixed):
        yield


@contextmanager
def _rotary_positions(
    network: nn.Module, instead: Callable[[nn.Module, Callable[[], Tensor]], Tensor]
) -> Iterator[None]:
    """Replace rotary positions by `instead(module, embed)`, where `embed()` computes them."""
    modules = [module for module in network.modules() if callable(getattr(module, _ROTARY, None))]
    for module in modules:
        own = getattr(module, _ROTARY)

        def given(*args: Any, module: nn.Module = module, own: Any = own, **kwargs: Any) -> Tensor:
            return instead(module, lambda: own(*args, **kwargs))

        module.__dict__[_ROTARY] = given
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__[_ROTARY]


class _Recorded(TorchFunctionMode):
    """Record the results of interpolations, in order, while active."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is F.interpolate:
            self.made.append(made)
        return made


class _Fixed(TorchFunctionMode):
    """While active, interpolations return `fixed` in order (None: computed); norms without a mean are written out."""

    def __init__(self, fixed: list[Tensor | None]) -> None:
        super().__init__()
        self._left = iter(fixed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.interpolate:
            fixed = next(self._left, None)
            return func(*args, **(kwargs or {})) if fixed is None else fixed
        if func in (F.rms_norm, torch.rms_norm):
            return _root_mean_square_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _root_mean_square_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """`torch.nn.functional.rms_norm`, written out by its definition."""
    axes = tuple(range(-len(normalized_shape), 0))
    smallest = torch.finfo(input.dtype).eps if eps is None else eps
    normed = input * torch.rsqrt(input.pow(2).mean(dim=axes, keepdim=True) + smallest)
    return normed if weight is None else normed * weight
