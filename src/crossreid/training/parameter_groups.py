"""Groups of parameters that learn at one rate with one weight decay: heads and encoders, layers of encoders, vectors and
matrices.

Layer-wise decay is that of timm (Clark et al., "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022): with n layers,
as the network's `group_matcher` numbers them from its stem to its end, layer i learns at lr * decay^(n - 1 -
i).
"""

from __future__ import annotations

from typing import Any

from timm.models import group_parameters
from torch import nn

from crossreid.errors import CrossreidError


def parameter_groups(
    method: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    new_layers_factor: float,
    layer_decay: float | None,
    decay_vectors: bool,
) -> list[dict[str, Any]]:
    """The parameters of `method` that learn, as an optimiser takes them.

    Each group has `params`, `lr` and, where that is not the same for all, `weight_decay`.

    Args:
        new_layers_factor: the rate of what lies outside the method's encoders, times `lr`.
        layer_decay: the rate of a layer of an encoder, times that of the layer after it; what an encoder has besides its
            network learns at `lr`.
        decay_vectors: whether parameters of one dimension, and those that a network names in `no_weight_decay`, are decayed.

    Raises:
        CrossreidError: layers are to be told apart, and an encoder does not say which it has.
    """
    encoders = list(getattr(method, "encoders", []))
    inside = {id(p) for encoder in encoders for p in encoder.parameters()}
    scales = _layer_scales(encoders, layer_decay) if layer_decay is not None else {}
    plain = set() if decay_vectors else _vectors(method)
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for parameter in method.parameters():
        if not parameter.requires_grad:
            continue
        key = (id(parameter) not in inside, scales.get(id(parameter), 1.0), id(parameter) in plain)
        if key not in groups:
            outside, scale, spared = key
            own: dict[str, Any] = {"params": [], "lr": lr * (new_layers_factor if outside else scale)}
            groups[key] = own if decay_vectors else own | {"weight_decay": 0.0 if spared else weight_decay}
        groups[key]["params"].append(parameter)
    # The encoders first, and of those the last layers: the rate that is logged is the first group's.
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], -key[1], key[2]))]


def _layer_scales(encoders: list[nn.Module], decay: float) -> dict[int, float]:
    """What the rates of the encoders' parameters are multiplied by, by the parameters' ids."""
    scales: dict[int, float] = {}
    for encoder in encoders:
        networks = [module for module in encoder.modules() if hasattr(module, "group_matcher")]
        if not networks:
            raise CrossreidError(
                f"training.optimiser.layer_decay is {decay}, but {type(encoder).__name__} does not number its "
                "layers. Set it to null, or choose a method whose encoder is one network of timm."
            )
        for network in networks:
            layers = group_parameters(network, network.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
            last = max(layers.values())
            for name, parameter in network.named_parameters():
                scales[id(parameter)] = decay ** (last - layers[name])
    return scales


def _vectors(method: nn.Module) -> set[int]:
    """Ids of the parameters of one dimension, and of those that a network of timm wants without weight decay."""
    found = {id(p) for name, p in method.named_parameters() if p.ndim <= 1 or name.endswith(".bias")}
    for network in method.modules():
        names = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()  # type: ignore[operator]
        own = dict(network.named_parameters())
        found |= {id(own[name]) for name in names if name in own}
    return found
