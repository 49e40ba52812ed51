"""Gradient reversal: the layers before it oppose what the layers after it learn.

Source: Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML 2015, section 3.1.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, strength: Tensor) -> Tensor:
        context.save_for_backward(strength)
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (strength,) = context.saved_tensors
        gradient = gradients[0]
        wide = gradient.to(torch.promote_types(gradient.dtype, strength.dtype))
        return (-strength * wide).to(gradient.dtype), None


def reverse_gradient(values: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """`values` as they are; backward, the gradient times -strength.

    A strength that changes from step to step is a scalar tensor on the device, so that a compiled step need not be
    compiled again.
    """
    if not isinstance(strength, Tensor):
        strength = torch.full((), strength, dtype=torch.float32, device=values.device)
    reversed_: Tensor = _Reversal.apply(values, strength)
    return reversed_


Schedule = Literal["constant", "sigmoid", "linear"]


def reversal_strength(schedule: Schedule, progress: float, *, largest: float = 1.0) -> float:
    """The strength at `progress`, the fraction of training done, in [0, 1].

    `sigmoid` is the paper's 2 / (1 + exp(-10 progress)) - 1: a modality classifier that has learned nothing yet has no
    influence on the features. `linear` rises evenly, `constant` is `largest` throughout.
    """
    if schedule == "constant":
        return largest
    if schedule == "linear":
        return largest * progress
    return largest * (2 / (1 + math.exp(-10 * progress)) - 1)
