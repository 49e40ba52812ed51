"""Layers of a torch network as MindSpore cells: the same parameter names, values and arithmetic.

A cell is made from the torch layer that it replaces, so no architecture is described twice: sizes, strides, paddings,
epsilons and initial values are read off the layer. Parameters keep torch's names, including running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore
import numpy as np
import torch
from mindspore import Parameter, Tensor, ops
from mindspore import nn as cells
from torch import nn

from crossreid.errors import CrossreidError

Draw = Callable[[tuple[int, ...]], np.ndarray]


class UnsupportedLayerError(CrossreidError):
    """A torch layer without a cell here."""


class BatchNorm(cells.Cell):
    """Batch norm of `(B, C)` or `(B, C, h, w)` as torch has it, over its own epsilon and momentum.

    torch's momentum is the share of the new batch, MindSpore's layer asks for that of the old; the operator below takes torch's.
    Running variances are those of a sample, divided by n - 1.
    """

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        if not layer.affine or not layer.track_running_stats or layer.momentum is None:
            raise UnsupportedLayerError(
                f"MindSpore: expected batch norm with a scale, a shift and running statistics, found {layer}."
            )
        self.weight = copied(layer.weight, "weight")
        self.bias = copied(layer.bias, "bias")
        self.running_mean = copied(layer.running_mean, "running_mean")
        self.running_var = copied(layer.running_var, "running_var")
        self.num_batches_tracked = copied(layer.num_batches_tracked, "num_batches_tracked")
        self.of_batch = ops.BatchNorm(is_training=True, epsilon=layer.eps, momentum=layer.momentum)
        self.of_running = ops.BatchNorm(is_training=False, epsilon=layer.eps)

    def construct(self, features: Tensor) -> Tensor:
        given = self.weight, self.bias, self.running_mean, self.running_var
        if self.training:
            ops.assign_add(self.num_batches_tracked, Tensor(1, mindspore.int64))
            return self.of_batch(features, *given)[0]
        if features.ndim == 2:
            return self.of_running(features[:, :, None, None], *given)[0][:, :, 0, 0]
        return self.of_running(features, *given)[0]


class Dropout(cells.Cell):
    """Dropout whose numbers, uniform in [0, 1), are drawn on the host by `draw`, so that any framework can be given the same.

    An entry is kept where its number is at least `rate`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.draw: Draw = np.random.default_rng(0).random

    def construct(self, features: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return features
        kept = self.draw(tuple(features.shape)) >= self.rate
        return features * Tensor((kept / max(1 - self.rate, 1e-12)).astype(np.float32))


class Through(cells.Cell):
    """The identity."""

    def construct(self, features: Tensor) -> Tensor:
        return features


class LeakyRelu(cells.Cell):
    """x where it is positive, else `slope` times x; the least of both would be wrong for slopes above 1."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def construct(self, features: Tensor) -> Tensor:
        return ops.relu(features) - self.slope * ops.relu(-features)


def copied(value: Any, name: str) -> Parameter:
    """A torch tensor as a parameter of that name; it learns where the tensor does."""
    array = np.array(value.detach().cpu().numpy())
    return Parameter(Tensor(array), name=name, requires_grad=bool(value.requires_grad))


def layer_of(layer: nn.Module) -> cells.Cell:
    """The cell for a torch layer, or for a sequence of layers.

    Raises:
        UnsupportedLayerError: there is none for it; the message names the supported ones.
    """
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise UnsupportedLayerError(f"MindSpore: expected layers without hooks, found one on a {type(layer).__name__}.")
    if isinstance(layer, nn.Sequential):
        return cells.SequentialCell(*(layer_of(inner) for inner in layer))
    make = MAKERS.get(type(layer))
    if make is None:
        raise UnsupportedLayerError(
            f"MindSpore: expected layers of {', '.join(kind.__name__ for kind in MAKERS)}, found {type(layer).__name__}. "
            "Train this network with torch."
        )
    return make(layer)


def _convolution(layer: nn.Conv2d) -> cells.Cell:
    if not isinstance(layer.padding, tuple) or layer.padding_mode != "zeros":
        raise UnsupportedLayerError(f"MindSpore: expected a convolution padded with zeros by numbers, found {layer}.")
    height, width = layer.padding
    return cells.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        pad_mode="pad",
        padding=(height, height, width, width),
        dilation=layer.dilation,
        group=layer.groups,
        has_bias=layer.bias is not None,
        weight_init=_values(layer.weight),
        bias_init="zeros" if layer.bias is None else _values(layer.bias),
    )


def _linear(layer: nn.Linear) -> cells.Cell:
    return cells.Dense(
        layer.in_features,
        layer.out_features,
        has_bias=layer.bias is not None,
        weight_init=_values(layer.weight),
        bias_init="zeros" if layer.bias is None else _values(layer.bias),
    )


def _max_pool(layer: nn.MaxPool2d) -> cells.Cell:
    if _pair(layer.dilation) != (1, 1) or layer.ceil_mode:
        raise UnsupportedLayerError(f"MindSpore: expected pooling without dilation, rounded down, found {layer}.")
    given = {"kernel_size": _pair(layer.kernel_size), "stride": _pair(layer.stride)}
    return cells.MaxPool2d(**given, pad_mode="pad", padding=_pair(layer.padding))


def _average_pool(layer: nn.AvgPool2d) -> cells.Cell:
    if _pair(layer.padding) != (0, 0) or layer.divisor_override is not None:
        raise UnsupportedLayerError(f"MindSpore: expected average pooling without padding, found {layer}.")
    return cells.AvgPool2d(
        _pair(layer.kernel_size),
        _pair(layer.stride),
        pad_mode="pad",
        padding=0,
        ceil_mode=layer.ceil_mode,
        count_include_pad=layer.count_include_pad,
    )


def _values(parameter: torch.Tensor) -> Tensor:
    return Tensor(np.array(parameter.detach().cpu().numpy()))


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, second = value
    return first, second


MAKERS: dict[type, Callable[[Any], cells.Cell]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: BatchNorm,
    nn.BatchNorm2d: BatchNorm,
    nn.ReLU: lambda _: cells.ReLU(),
    nn.LeakyReLU: lambda layer: LeakyRelu(layer.negative_slope),
    nn.Dropout: lambda layer: Dropout(layer.p),
    nn.Identity: lambda _: Through(),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
}
