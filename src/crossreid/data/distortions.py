"""Distortions of whole batches in position, angle, size and light, which leave the identity recognisable.

Each is a pure function of normalised images `(B, 3, H, W)`, their modalities `(B,)` and a generator, like those in
`channels`; each image has its own draw, and what is drawn depends only on the batch size. Visible and infrared images
are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.data.channels import BatchTransform, Compose
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.sending import sent
from crossreid.options import Options

# What a strength of 1 means: degrees; logarithms of size and of width over height; shear; shift as a share of the
# image's sides.
_ANGLE, _SIZE, _STRETCH, _SHEAR, _SHIFT = 15.0, 0.25, 0.15, 0.2, 0.1
# Likewise for light: logarithms of the exponent, of contrast about the mean, and of brightness.
_GAMMA, _CONTRAST, _BRIGHTNESS = 0.8, 0.6, 0.4
_DARKEST = 1e-3  # for values in [0, 1]: keeps the gradient of a power finite


class DistortionOptions(Options):
    affine: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Strength of a random rotation (1: up to 15 degrees), scaling (up to 28 %), stretching (16 %), shear (0.2) and "
        "shift (10 % of each side); the image's edge is repeated outside.",
    )
    light: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Strength of a random gamma (1: an exponent from 0.45 to 2.2), contrast (0.55 to 1.8) and brightness (0.67 to "
        "1.5).",
    )


@dataclass(frozen=True)
class AffineWarp:
    """Rotate, scale, stretch, shear and shift images at random, bilinearly; `strength` 1 means the constants above."""

    strength: float = 1.0

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        matrices = affine_matrices(generator.uniform(-1, 1, (len(images), 6)) * self.strength, images.shape[-2:])
        grid = F.affine_grid(sent(matrices, images.device), list(images.shape), align_corners=False)
        warped = F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)
        return warped.contiguous(memory_format=torch.channels_last)


def affine_matrices(drawn: np.ndarray, size: tuple[int, int] | torch.Size) -> np.ndarray:
    """Return the maps from positions in the result to positions in the image for draws `(B, 6)`, `(B, 2, 3)` float32.

    Positions are in [-1, 1] on both axes, as in `affine_grid`. Columns: angle, size, stretch, shear, shift in x and in
    y, each -1 to 1 at strength 1; zeros change nothing. Angles are preserved in pixels, whatever the image's sides.
    """
    height, width = size
    angle = np.deg2rad(_ANGLE) * drawn[:, 0]
    scale, stretch = np.exp(_SIZE * drawn[:, 1]), np.exp(_STRETCH * drawn[:, 2])
    cosine, sine, shear = np.cos(angle), np.sin(angle), _SHEAR * drawn[:, 3]
    # Rotation times shear times diagonal, for positions in pixels; then each axis in units of half its side.
    inner = np.stack(
        [cosine * scale * stretch, (cosine * shear - sine) * scale / stretch, sine * scale * stretch,
         (sine * shear + cosine) * scale / stretch],
        axis=1,
    ).reshape(-1, 2, 2)  # fmt: skip
    inner *= np.array([[1, height / width], [width / height, 1]])
    shift = 2 * _SHIFT * drawn[:, 4:6]
    return np.concatenate([inner, shift[:, :, None]], axis=2).astype(np.float32)


@dataclass(frozen=True)
class LightShift:
    """Change gamma, contrast about the mean and brightness at random; `strength` 1 means the constants above."""

    strength: float = 1.0
    normalisation: Normalisation = IMAGENET

    def __call__(self, images: Tensor, modalities: Tensor, generator: np.random.Generator) -> Tensor:
        logarithms = generator.uniform(-1, 1, (len(images), 3)) * self.strength * (_GAMMA, _CONTRAST, _BRIGHTNESS)
        factors = sent(np.exp(logarithms).astype(np.float32), images.device)
        gamma, contrast, brightness = (part[:, None, None, None] for part in factors.unbind(1))
        values = self.normalisation.raw(images).clamp(_DARKEST, 1) ** gamma
        mean = values.mean((1, 2, 3), keepdim=True)
        values = (values - mean) * contrast + mean * brightness
        return self.normalisation.of_raw(values.clamp(0, 1)).to(images.dtype)


def distortions(options: DistortionOptions, normalisation: Normalisation = IMAGENET) -> Compose:
    """Return the distortions with a strength above 0, for images normalised this way."""
    chosen: list[tuple[float, BatchTransform]] = [
        (options.affine, AffineWarp(options.affine)),
        (options.light, LightShift(options.light, normalisation)),
    ]
    return Compose([transform for strength, transform in chosen if strength])
