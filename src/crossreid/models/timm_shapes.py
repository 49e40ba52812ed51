"""How the shape of a timm network, known by its name before it is built, decides options that a recipe leaves open.

A last stage can keep its resolution only if it has a stride, and a network of blocks that all see the same tokens has
as many stages as blocks. The resulting values are stored in the recipe.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from timm.models import model_entrypoint
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.alterations import stride_one
from crossreid.models.stages import feature_rows, has_blocks
from crossreid.models.timm_building import build_headless, frozen
from crossreid.models.timm_names import find_timm_model

# Families of convolutional networks: known without building one. Other networks are built, without weights.
_CONVOLUTIONAL = frozenset(
    ("cspnet", "densenet", "dla", "dpn", "efficientnet", "ghostnet", "hgnet", "hrnet", "mobilenetv3", "nfnet",
     "regnet", "repvit", "res2net", "resnest", "resnet", "resnetv2", "rexnet", "senet", "sknet", "vgg", "vovnet", "xception")
)  # fmt: skip


class TimmShape(NamedTuple):
    """If the last stage can keep its resolution; if stages are sequences of blocks; a transformer's blocks, or 0."""

    strides: bool = True
    sequences: bool = True
    blocks: int = 0


def timm_shape(name: str) -> TimmShape:
    """The shape of the timm network of that name, also on the hub; for any other name that of a convolutional network.

    Raises:
        CrossreidError: for a hub name, as raised by `find_timm_model`.
    """
    model = find_timm_model(name)
    if model is None or model_entrypoint(model.architecture).__module__.rpartition(".")[2] in _CONVOLUTIONAL:
        return TimmShape()
    return _built_shape(model.architecture, frozen(model.arguments))


@lru_cache(maxsize=64)
def _built_shape(architecture: str, arguments: tuple[tuple[str, Any], ...]) -> TimmShape:
    """The shape of a network on torch's `meta` device, which takes neither memory nor time."""
    with torch.device("meta"):
        try:
            network = build_headless(architecture, dict(arguments))
        except Exception:  # building the network itself will raise and report it again
            return TimmShape()
        blocks = len(network.blocks) if has_blocks(network) else 0  # type: ignore[arg-type]
        modules = dict(network.named_modules())
        sequences = all(isinstance(modules.get(row["module"]), nn.Sequential) for row in feature_rows(network)[-4:])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the cost of a convolution that is not computed here
                stride_one(network, architecture)
            strides = True
        except CrossreidError:
            strides = False
    return TimmShape(strides, sequences, blocks)
