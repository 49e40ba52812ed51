"""Activations that are computed again in the backward pass, rather than kept: less memory for about a third more time.

Source: Chen et al., "Training deep nets with sublinear memory cost", 2016. The networks do it themselves, block by
block, once timm's `set_grad_checkpointing` has asked them to; of one that was cut its stages do. Losses and gradients
are the same but for rounding. A batch norm sees its batch twice so; its running statistics are moved by the first time
alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.domain_norm import DomainNorm


def checkpoint_activations(method: nn.Module) -> None:
    """Ask the encoders of `method` to compute their activations again in the backward pass.

    Raises:
        CrossreidError: one of them has no network that can, or has what would not be the same.
    """
    for encoder in getattr(method, "encoders", []):
        if not _asked(encoder):
            raise CrossreidError(
                f"training.checkpoint_activations is true, but {type(encoder).__name__} has no network that "
                "computes them again. Set it to false, or choose a method whose encoder is one network of timm."
            )
        _refuse_what_is_lost(encoder)
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                _move_statistics_once(module)


def _asked(encoder: nn.Module) -> bool:
    """Ask the networks in an encoder, or its stages; returns whether there are any that compute activations again."""
    asked = False
    try:
        for module in encoder.modules():
            if hasattr(module, "set_grad_checkpointing"):
                module.set_grad_checkpointing(True)  # type: ignore[operator]
            elif hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = True  # type: ignore[assignment]
            else:
                continue
            asked = True
    except (AssertionError, NotImplementedError):
        return False
    return asked


def _refuse_what_is_lost(encoder: nn.Module) -> None:
    """Raise `CrossreidError` for what would not be the same.

    What follows a sequence of blocks is left out, as timm then calls the blocks alone; norms by domain have to know the
    batch, which a backward pass does not.
    """
    lost = {
        "mixstyle or stage_attention": any(
            isinstance(m, nn.Sequential) and m._forward_hooks for m in encoder.modules()
        ),
        "domain_norm": any(isinstance(m, DomainNorm) for m in encoder.modules()),
    }
    for option in (option for option, there in lost.items() if there):
        raise CrossreidError(
            f"training.checkpoint_activations is true, but method.backbone.{option} cannot be computed again with this backbone. Set "
            "it to false, or leave that out."
        )


def _move_statistics_once(norm: nn.modules.batchnorm._BatchNorm) -> None:
    momentum = norm.momentum

    def before(module: Any, _inputs: Any) -> None:
        # Within a backward pass, as torch.utils.checkpoint tells it too. Set anew each time: a recomputation may end
        # early.
        module.momentum = 0.0 if torch._C._current_graph_task_id() != -1 else momentum

    norm.register_forward_pre_hook(before)
