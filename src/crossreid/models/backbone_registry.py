"""The user's own backbones, by their names in recipes, and the pixels that the weights of a backbone expect."""

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
    """How the images that a backbone's weights were trained with were resized and normalised."""

    normalisation: Normalisation = IMAGENET
    interpolation: Interpolation = "bilinear"


@dataclass(frozen=True, slots=True)
class RegisteredBackbone:
    """An entry of `BACKBONES`: its factory, the pixels its weights expect, and whether its last stage has a stride."""

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
    """Register the decorated function as the backbone `name` in recipes; it precedes a timm model of that name.

    It is called with those of these arguments that it has as parameters: `pretrained` (bool: weights are `imagenet`)
    and `input_size` ((height, width) of the images, if a recipe gives it; it needs a default). It returns an
    `nn.Module` without a classifier that has

    * `forward_features(images)`: `(B, 3, H, W)` to maps `(B, num_features, h, w)`, or tokens
      `(B, tokens, num_features)`;
    * `num_features`: int;
    * `feature_info`, if its stages can be told apart (last stride, attention, two streams): a list of one
      `{"module": PATH, "num_chs": int}` per stage, stem first, PATH of the module that the stage ends with.

    Args:
        mean, std: of red, green and blue, from 0 to 1, used to normalise the images that its weights were trained
            with; images are normalised the same way unless a recipe says otherwise.
        interpolation: how those images were resized.
        last_stride: whether its last stage has a stride that `last_stride_one` can remove; if it has none, that option
            is false by default.

    Raises:
        PluginError: another module has registered the name.
    """

    def register(factory: F) -> F:
        BACKBONES.add(name, RegisteredBackbone(factory, Pixels(Normalisation(mean, std), interpolation), last_stride))
        return factory

    return register
