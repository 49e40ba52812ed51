"""Activations that are computed again in the backward pass, rather than kept: less memory for about a third more time.

Source: Chen et al., "Training deep nets with sublinear memory cost", 2016. The networks do it themselves, block by
block, once timm's `set_grad_checkpointing` has asked them to. Losses and gradients are the same but for rounding. A
batch norm sees its batch twice so; its running statistics are moved by the first time alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.domain_norm import DomainNorm
from crossreid.models.tokens import forward_small


def checkpoint_activations(method: nn.Module) -> None:
    """Ask the encoders of `method` to compute their activations again in the backward pass.

    Raises:
        CrossreidError: one of them has no network that can, or has layers that would not do the same then.
    """
    for encoder in getattr(method, "encoders", []):
        able = [module for module in encoder.modules() if hasattr(module, "set_grad_checkpointing")]
        try:
            for network in able:
                network.set_grad_checkpointing(True)
        except (AssertionError, NotImplementedError):
            able = []
        if not able:
            raise CrossreidError(
                f"training.checkpoint_activations is true, but {type(encoder).__name__} has no network that "
                "computes them again. Set it to false, or choose a method whose encoder is one network of timm."
            )
        _refuse_what_would_differ(able)
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                _move_statistics_once(module)


def _refuse_what_would_differ(networks: Sequence[nn.Module]) -> None:
    """Raise `CrossreidError` for batch norms by domain, and for stages that mix styles and are passed over.

    The domains of a batch are known in its forward pass alone. Of some networks timm calls the blocks of a stage by
    themselves then, so that what is done after the stage is left out.
    """
    for network in networks:
        if any(isinstance(module, DomainNorm) for module in network.modules()):
            raise CrossreidError(
                "training.checkpoint_activations and method.backbone.domain_norm do not go together: what is computed again "
                "does not know its domains. Leave one of them out."
            )
        mixing = {module for module in network.modules() if hasattr(module, "mixstyle")}
        if mixing and not mixing <= _called(network, mixing):
            raise CrossreidError(
                "training.checkpoint_activations and method.backbone.mixstyle do not go together in this network: its stages are "
                "computed block by block, and no style would be mixed after them. Leave one of them out."
            )


def _called(network: nn.Module, modules: Iterable[nn.Module]) -> set[nn.Module]:
    """Those of the modules that the network calls in a forward pass."""
    called: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in modules]
    try:
        forward_small(network)
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _move_statistics_once(norm: nn.modules.batchnorm._BatchNorm) -> None:
    momentum = norm.momentum

    def before(module: Any, _inputs: Any) -> None:
        # Within a backward pass, as torch.utils.checkpoint tells it too. Set anew each time: a recomputation may end early.
        module.momentum = 0.0 if torch._C._current_graph_task_id() != -1 else momentum

    norm.register_forward_pre_hook(before)
