"""Backbones of one's own, by the names that recipes call them, and the pixels that the weights of a backbone want."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import nn

from crossreid.data.normalisation import IMAGENET, Normalisation, Triple
from crossreid.data.transforms import Interpolation
from crossreid.registry import Registry

Factory = Callable[..., nn.Module]
F = TypeVar("F", bound=Factory)


class Pixels(NamedTuple):
    """How the images were resized and normalised that a backbone's weights were trained with."""

    normalisation: Normalisation = IMAGENET
    interpolation: Interpolation = "bilinear"


@dataclass(frozen=True, slots=True)
class RegisteredBackbone:
    """An entry of `BACKBONES`: what makes the network, the pixels its weights want, whether its last stage strides."""

    owner: Factory
    pixels: Pixels
    last_stride: bool = True


OURS = ("crossreid.models.ibn", "crossreid.models.osnet", "crossreid.models.torchvision_backbones")
BACKBONES: Registry[RegisteredBackbone] = Registry("backbone", "crossreid.backbones", OURS)
"""Registered backbones, by their names in recipes; those of timm and torchvision need no entry."""


def register_backbone(
    name: str,
    *,
    mean: Triple = IMAGENET.mean,
    std: Triple = IMAGENET.std,
    interpolation: Interpolation = "bilinear",
    last_stride: bool = True,
) -> Callable[[F], F]:
    """Register the function below as the backbone that recipes call `name`; it comes before a timm model of that name.

    It is called without arguments, or with those of these that it has as parameters: `pretrained` (bool: weights are
    `imagenet`), `input_size` ((height, width) of the images, where a recipe says it; give it a default). It returns an
    `nn.Module` without a classifier that has

    * `forward_features(images)`: `(B, 3, H, W)` to maps `(B, num_features, h, w)`, or tokens
      `(B, tokens, num_features)`;
    * `num_features`: int;
    * `feature_info`, if its stages can be told apart (last stride, attention, two streams): a list of one
      `{"module": PATH, "num_chs": int}` a stage, stem first, PATH of the module that the stage ends with.

    Args:
        mean, std: of red, green and blue, from 0 to 1, by which the images were normalised that its weights were
            trained with; images are fed to it so, unless a recipe says otherwise.
        interpolation: how those images were resized.
        last_stride: whether its last stage has a stride that `last_stride_one` can take out; where it has none, that
            option is false unless given.

    Raises:
        PluginError: one of another module has the name.
    """

    def register(factory: F) -> F:
        BACKBONES.add(name, RegisteredBackbone(factory, Pixels(Normalisation(mean, std), interpolation), last_stride))
        return factory

    return register
