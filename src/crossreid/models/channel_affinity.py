"""The attention before stages 2 to 4 in the authors' release of variational distillation: channels by their affinity.

It has one learned number per stage, initialised to 0, so a pretrained network starts unchanged. The paper has no such
attention.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def channel_affinity(maps: Tensor, gain: Tensor) -> Tensor:
    """Maps x `(B, C, H, W)`, channels as rows of length H W, to x + gain softmax(-x x^T) x; `gain` is a scalar `(1,)`.

    The softmax is over the last axis: a channel takes in most from those it is least like. Computed in float32 or
    wider, as the products are not scaled.
    """
    kind = maps.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        rows = maps.flatten(2).to(torch.promote_types(maps.dtype, torch.float32))
        unlike = torch.softmax(-(rows @ rows.transpose(1, 2)), dim=2)
        added = gain * (unlike @ rows)
    return maps + added.unflatten(2, maps.shape[2:]).to(maps.dtype)


def put_affinity_after(stage: nn.Module) -> None:
    """Pass the output of `stage` through `channel_affinity`, in place, with a parameter `affinity_gain`; other keys
    stay.

    The parameter belongs to the stage itself and the hook has no state, so a copy of the stage has its own gain.
    """
    stage.register_parameter("affinity_gain", nn.Parameter(torch.zeros(1)))
    stage.register_forward_hook(_through_affinity)


def _through_affinity(stage: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return channel_affinity(output, stage.get_parameter("affinity_gain"))
