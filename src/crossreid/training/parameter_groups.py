"""Groups of parameters with the same learning rate and weight decay: heads and encoders, encoder layers, vectors
and matrices.

Layer-wise decay is that of timm (Clark et al., "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022): with n layers,
as the network's `group_matcher` numbers them from its stem to its end, layer i learns at lr * decay^(n - 1 - i).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.encoder_weights import is_cut
from crossreid.models.stages import layers_behind
from crossreid.training.rates import rate_factors


def parameter_groups(
    method: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    rates: Mapping[str, float],
    layer_decay: float | None,
    decay_vectors: bool,
) -> list[dict[str, Any]]:
    """The trainable parameters of `method`, as an optimiser takes them.

    Each group has `params`, `lr`, the `factor` of `lr` in it, the `positions` of its parameters among all trainable
    ones, encoders first, and, if that differs between parameters, `weight_decay`.

    Args:
        rates: factors of `lr` by part (`rates`); layer-wise decay comes on top.
        layer_decay: rate of an encoder layer as a multiple of the next layer's; parameters of an encoder outside
            its network learn at `lr`.
        decay_vectors: whether parameters of one dimension, and those that a network names in `no_weight_decay`, are
            decayed.

    Raises:
        CrossreidError: layer-wise decay is set, but an encoder does not number its layers.
    """
    encoders = list(getattr(method, "encoders", []))
    inside = {id(p) for encoder in encoders for p in encoder.parameters()}
    factors = rate_factors(method, rates)
    scales = _layer_scales(encoders, layer_decay) if layer_decay is not None else {}
    plain = set() if decay_vectors else _vectors(method)
    learning = [parameter for parameter in method.parameters() if parameter.requires_grad]
    learning.sort(key=lambda parameter: id(parameter) not in inside)
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for position, parameter in enumerate(learning):
        factor = factors.get(id(parameter), 1.0) * scales.get(id(parameter), 1.0)
        key = (id(parameter) in inside, factor, id(parameter) in plain)
        if key not in groups:
            own: dict[str, Any] = {"params": [], "lr": lr * factor, "factor": factor, "positions": []}
            groups[key] = own if decay_vectors else own | {"weight_decay": 0.0 if key[2] else weight_decay}
        groups[key]["params"].append(parameter)
        groups[key]["positions"].append(position)
    return list(groups.values())


def _layer_scales(encoders: list[nn.Module], decay: float) -> dict[int, float]:
    """Factors of the rates of the encoders' parameters, by parameter id."""
    scales: dict[int, float] = {}
    for encoder in encoders:
        numbered = _numbered(encoder)
        if not numbered:
            raise CrossreidError(
                f"training.optimiser.layer_decay is {decay}, but {type(encoder).__name__} does not number its "
                "layers. Set it to null, or choose a backbone of timm."
            )
        for network, behind in numbered:
            own = dict(network.named_parameters())
            scales |= {id(own[name]): decay**count for name, count in behind.items()}
    return scales


def _numbered(encoder: nn.Module) -> list[tuple[nn.Module, dict[str, int]]]:
    """The modules of an encoder that number their layers, with `layers_behind` of each.

    For an encoder that was cut, that is the encoder itself.
    """
    if is_cut(encoder):
        known: Any = encoder.layers_behind
        return [(encoder, known)] if known else []
    found = [(module, layers_behind(module)) for module in encoder.modules()]
    return [(module, behind) for module, behind in found if behind]


def _vectors(method: nn.Module) -> set[int]:
    """Ids of the parameters of one dimension, and of those that a timm network excludes from weight decay."""
    found = {id(p) for name, p in method.named_parameters() if p.ndim <= 1 or name.endswith(".bias")}
    for network in method.modules():
        names = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()  # type: ignore[operator]
        own = dict(network.named_parameters())
        found |= {id(own[name]) for name in names if name in own}
    return found
