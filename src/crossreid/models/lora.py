"""Low-rank adaptation: a frozen network with small trainable matrices beside some of its layers.

Source: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022: W x + (alpha / rank) B A x. The
layers are those of the package `peft`, which is needed only if a recipe sets a rank (extra `lora`).
"""

from __future__ import annotations

import copy
from typing import TypeVar

from pydantic import Field
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.options import Options

N = TypeVar("N", bound=nn.Module)


class LoraOptions(Options):
    rank: int = Field(0, ge=0, description="Rank of the trained matrices beside frozen layers; 0 for none.")
    alpha: float = Field(16.0, gt=0, description="Their product is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before these matrices.")
    targets: tuple[str, ...] = Field(
        ("qkv",),
        min_length=1,
        description="Layers that get them, by name suffix; `qkv` is the attention of a ViT.",
    )


def add_adapters(network: nn.Module, name: str, options: LoraOptions) -> None:
    """Freeze `network` and add trainable matrices beside the layers that `options` name, in place.

    Raises:
        CrossreidError: `peft` is not installed, no layer has such a name, or one of them is of a kind that it cannot
            adapt.
    """
    peft = needed("peft", "method.backbone.lora")
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=list(options.targets)
    )
    network.requires_grad_(False)
    try:
        peft.inject_adapter_in_model(config, network)
    except ValueError as error:
        kinds = sorted(
            {path.rpartition(".")[2] for path, layer in network.named_modules() if isinstance(layer, nn.Linear)}
        )
        raise CrossreidError(
            f"method.backbone.lora.targets is {', '.join(options.targets)}, which backbone {name!r} cannot be given. "
            f"Its linear layers are called {', '.join(kinds) or 'nothing: it has none'}."
        ) from error


def merged(network: N) -> N:
    """A copy of `network` with its adapters merged into the adapted weights, so that `peft` is not needed.

    A network without adapters is returned itself.
    """
    if not has_adapters(network):
        return network
    result = copy.deepcopy(network)
    for path, layer in list(result.named_modules()):
        if not _is_adapted(layer):
            continue
        layer.merge()  # type: ignore[operator]
        parent, _, key = path.rpartition(".")
        setattr(result.get_submodule(parent), key, layer.get_base_layer())  # type: ignore[operator]
    return result


def has_adapters(network: nn.Module) -> bool:
    return any(_is_adapted(layer) for layer in network.modules())


def _is_adapted(layer: nn.Module) -> bool:
    # Without `peft` there are no adapters.
    return hasattr(layer, "lora_A") and hasattr(layer, "get_base_layer")
