"""Which part of an encoder a student does not take from its teacher but starts from the backbone's own weights."""

from __future__ import annotations

from typing import Literal

from torch import nn

from crossreid.models.backbones import Backbone
from crossreid.models.jigsaw import JigsawBackbone
from crossreid.models.two_stream import TwoStream

Extent = Literal["stage", "release"]


def reset_paths(encoder: nn.Module, extent: Extent) -> list[str]:
    """Paths of those modules of `encoder`: all after the second-to-last stage, or what VKD's release resets.

    The release resets layer4 of a ResNet and the last dense block of a DenseNet, but not the preceding transition or
    the norm that follows, and nothing of a MobileNet. For any other network `release` is the last stage too. Modules
    other than encoders have no such paths.
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
    """timm builds it from EfficientNet blocks, here without squeeze and excitation and with ReLU6 activations."""
    kinds = {type(module).__name__ for module in network.modules()}
    return "ReLU6" in kinds and "SqueezeExcite" not in kinds
