"""Batch augmentations that make colour unreliable, so that the model learns what infrared shows too.

Source: Ye et al., "Channel augmented joint learning for visible-infrared recognition", ICCV 2021, section 3.1. Each is
a pure function of normalised images `(B, 3, H, W)`, their modalities `(B,)` and a generator; each image has its own
draw, and what is drawn depends only on the batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.records import Modality
from crossreid.data.sending import sent
from crossreid.data.transforms import grey_version
from crossreid.errors import CrossreidError
from crossreid.options import Options


class BatchTransform(Protocol):
    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        """Transform images `(B, 3, H, W)` into images `(B, 3, H, W)`; the input is not modified."""


class ChannelOptions(Options):
    exchange: float = Field(
        0.0, ge=0, le=1, description="Probability that one channel of a visible image replaces all three."
    )
    grey: float = Field(0.0, ge=0, le=1, description="Probability of turning a visible image grey.")
    erasing: float = Field(
        0.0, ge=0, le=1, description="Probability of erasing a rectangle with one random value per channel."
    )
    joint: bool = Field(
        False,
        description="Make batches as in CAJ's release: each visible image twice, unchanged and with a channel "
        "exchanged; infrared images exchanged or grey; rectangles erased with constants; all on "
        "normalised values.",
    )

    @model_validator(mode="after")
    def _alone(self) -> ChannelOptions:
        if self.joint and (self.exchange or self.grey):
            raise CrossreidError(
                "joint already exchanges channels and makes images grey. Leave exchange and grey at 0 with it."
            )
        return self


@dataclass(frozen=True)
class ChannelExchange:
    """With `probability`, replace all channels of a visible image with one of them, each equally likely."""

    probability: float = 0.5
    normalisation: Normalisation = IMAGENET

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        chosen = sent(generator.integers(0, 3, size=len(images)), images.device)
        rows = _drawn(len(images), self.probability, generator, images.device) & (modalities == Modality.VISIBLE)
        one = self.normalisation.raw(images)[torch.arange(len(images), device=images.device), chosen][:, None]
        return torch.where(rows[:, None, None, None], self.normalisation.of_raw(one.expand(-1, 3, -1, -1)), images)


@dataclass(frozen=True)
class RandomGrey:
    """With `probability`, replace a visible image by its luma, in all three channels."""

    probability: float = 0.5
    normalisation: Normalisation = IMAGENET

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        rows = _drawn(len(images), self.probability, generator, images.device) & (modalities == Modality.VISIBLE)
        return torch.where(rows[:, None, None, None], grey_version(images, self.normalisation), images)


@dataclass(frozen=True)
class ChannelErasing:
    """With `probability`, fill a rectangle of 2 to 40 % of an image's area with one random value per channel, in [0,
    1].
    """

    probability: float = 0.5
    normalisation: Normalisation = IMAGENET

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        rows = _drawn(count, self.probability, generator, images.device)
        area = generator.uniform(0.02, 0.4, size=count) * height * width
        aspect = np.exp(generator.uniform(np.log(0.3), np.log(1 / 0.3), size=count))
        sizes = [np.clip(np.sqrt(area * aspect), 1, height), np.clip(np.sqrt(area / aspect), 1, width)]
        inside = rows[:, None, None, None]
        for axis, (size, length) in enumerate(zip(sizes, (height, width), strict=True), start=2):
            size = size.astype(np.int64)
            first = np.floor(generator.random(count) * (length - size + 1)).astype(np.int64)
            position = np.arange(length)
            within = (position >= first[:, None]) & (position < (first + size)[:, None])
            shape = (count, 1, length, 1) if axis == 2 else (count, 1, 1, length)
            inside = inside & sent(within, images.device).view(shape)
        values = sent(generator.random((count, 3, 1, 1), dtype=np.float32), images.device).to(images.dtype)
        return torch.where(inside, self.normalisation.of_raw(values), images)


@dataclass(frozen=True)
class Compose:
    """Apply transforms in order, with the same generator."""

    transforms: Sequence[BatchTransform]

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        for transform in self.transforms:
            images = transform(images, modalities, generator)
        return images


def channel_transforms(options: ChannelOptions, normalisation: Normalisation = IMAGENET) -> Compose:
    """Return the transforms with a probability above 0 (exchange, grey, erasing), for images normalised this way."""
    of = ((ChannelExchange, options.exchange), (RandomGrey, options.grey), (ChannelErasing, options.erasing))
    return Compose([kind(probability, normalisation) for kind, probability in of if probability])


def _drawn(count: int, probability: float, generator: np.random.Generator, device: torch.device) -> Tensor:
    return sent(generator.random(count) < probability, device)
