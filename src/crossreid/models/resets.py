"""Which part of an encoder a student does not take from its teacher, but starts anew from the backbone's own weights."""

from __future__ import annotations

from typing import Literal

from torch import nn

from crossreid.models.backbones import Backbone
from crossreid.models.jigsaw import JigsawBackbone
from crossreid.models.two_stream import TwoStream

Extent = Literal["stage", "release"]


def reset_paths(encoder: nn.Module, extent: Extent) -> list[str]:
    """Paths of those modules of `encoder`: all that follows the last stage but one, or what VKD's release sets back.

    The release sets back layer4 of a ResNet and the last dense block of a DenseNet, but not the transition before it or the norm
    behind it, and nothing of a MobileNet. Of any other network `release` is the last stage too. No path of other modules
    than encoders.
    """
    if not isinstance(encoder, Backbone | TwoStream | JigsawBackbone):
        return []
    if extent == "release" and isinstance(encoder, Backbone):
        network = type(encoder.network).__name__
        if network == "DenseNet":
            return ["network.features.denseblock4"]
        if network == "EfficientNet" and _is_mobilenet_v2(encoder.network):
            return []
    return encoder.last_stage


def _is_mobilenet_v2(network: nn.Module) -> bool:
    """timm builds it of the blocks of EfficientNets; its blocks have no squeeze and excitation, its activations are ReLU6."""
    kinds = {type(module).__name__ for module in network.modules()}
    return "ReLU6" in kinds and "SqueezeExcite" not in kinds
