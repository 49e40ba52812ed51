"""Activations recomputed in the backward pass instead of stored: less memory for about a third more time.

Source: Chen et al., "Training deep nets with sublinear memory cost", 2016. The networks do it themselves, block by
block, once timm's `set_grad_checkpointing` has enabled it; for a network that was cut, its stages do. Losses and
gradients are the same up to rounding. A batch norm sees its batch twice; only the first time updates its running
statistics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.domain_norm import DomainNorm


def checkpoint_activations(method: nn.Module) -> None:
    """Make the encoders of `method` recompute their activations in the backward pass.

    Raises:
        CrossreidError: one of them has no network that can, or has a layer whose recomputation would differ.
    """
    for encoder in getattr(method, "encoders", []):
        if not _asked(encoder):
            raise CrossreidError(
                f"training.checkpoint_activations is true, but {type(encoder).__name__} has no network that "
                "recomputes them. Set it to false, or choose a method whose encoder is a single timm network."
            )
        _refuse_what_is_lost(encoder)
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                _move_statistics_once(module)


def _asked(encoder: nn.Module) -> bool:
    """Enable it in an encoder's networks, or its stages; returns whether any of them recompute activations."""
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
    """Raise `CrossreidError` for layers whose recomputation would differ.

    What follows a sequence of blocks is left out, as timm then calls the blocks alone; batch norm by domain needs to
    know the batch, which a backward pass does not.
    """
    lost = {
        "mixstyle or stage_attention": any(
            isinstance(m, nn.Sequential) and m._forward_hooks for m in encoder.modules()
        ),
        "domain_norm": any(isinstance(m, DomainNorm) for m in encoder.modules()),
    }
    for option in (option for option, there in lost.items() if there):
        raise CrossreidError(
            f"training.checkpoint_activations is true, but method.backbone.{option} cannot be recomputed with this backbone. Set "
            "it to false, or leave that option out."
        )


def _move_statistics_once(norm: nn.modules.batchnorm._BatchNorm) -> None:
    momentum = norm.momentum

    def before(module: Any, _inputs: Any) -> None:
        # Within a backward pass, as torch.utils.checkpoint detects it too. Set anew each time: a recomputation may stop
        # early.
        module.momentum = 0.0 if torch._C._current_graph_task_id() != -1 else momentum

    norm.register_forward_pre_hook(before)
