"""From a decoded image to network input; each transform is a pure function of the image and a generator.

What is done to whole batches on the device is in `channels`, but for `grey_version`, which evaluation needs too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from crossreid.data.erasing import RectangleOptions, erased
from crossreid.data.normalisation import IMAGENET, Normalisation, of_channels
from crossreid.data.pseudo_infrared import pseudo_infrared as make_pseudo_infrared
from crossreid.data.records import Modality

Interpolation = Literal["bilinear", "bicubic", "lanczos"]
# As the releases write the luma: of four digits, and taken of normalised channels.
NORMALISED_LUMA = (0.2989, 0.5870, 0.1140)
# Rec. 601 luma, as in Pillow's and OpenCV's conversion to grey.
LUMA = (0.299, 0.587, 0.114)
_LUMA = np.array(LUMA, dtype=np.float32)


@dataclass(frozen=True)
class EvalTransform:
    """`(H, W, 3)` uint8 to `(3, height, width)` float32: resized and normalised."""

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    normalisation: Normalisation = IMAGENET

    def __call__(self, image: np.ndarray) -> Tensor:
        return self.normalisation.of_bytes(resized(image, self.height, self.width, self.interpolation))


@dataclass(frozen=True)
class TrainTransform:
    """`(H, W, 3)` uint8 to `(3, height, width)` float32, augmented by a generator that is passed in.

    flip, erasing, grey, pseudo_infrared are probabilities, the last two of visible images only; pad is in pixels of
    network input, and filled with the grey level pad_value, 0 to 255; jitter j scales brightness, contrast and (visible
    images) saturation by up to 1 +- j; `rectangle` is what erasing cuts out.
    """

    height: int
    width: int
    flip: float = 0.5
    pad: int = 0
    pad_value: int = 0
    erasing: float = 0.0
    rectangle: RectangleOptions = field(default_factory=RectangleOptions)
    grey: float = 0.0
    jitter: float = 0.0
    pseudo_infrared: float = 0.0
    interpolation: Interpolation = "bilinear"
    normalisation: Normalisation = IMAGENET

    def __call__(self, image: np.ndarray, generator: np.random.Generator, modality: Modality) -> Tensor:
        image = resized(image, self.height, self.width, self.interpolation)
        # Every draw is made whatever the options, so that changing one augmentation leaves the others' draws alone.
        flip, erase, grey, pseudo = generator.random(4)
        shift = generator.integers(0, 2 * self.pad + 1, size=2)
        scales = 1 + self.jitter * generator.uniform(-1, 1, size=3)
        if flip < self.flip:
            image = image[:, ::-1]
        if self.pad:
            padded = np.pad(image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)), constant_values=self.pad_value)
            image = padded[shift[0] : shift[0] + self.height, shift[1] : shift[1] + self.width]
        visible = modality == Modality.VISIBLE
        if visible and pseudo < self.pseudo_infrared:
            image, visible = make_pseudo_infrared(image, generator), False
        elif visible and grey < self.grey:
            image = np.repeat((image @ _LUMA).astype(np.uint8)[:, :, None], 3, axis=2)
        if self.jitter:
            image = jittered(image, scales, saturation=visible)
        tensor = self.normalisation.of_bytes(image)
        return erased(tensor, generator, self.rectangle, fill=self._fill()) if erase < self.erasing else tensor

    def _fill(self) -> tuple[float, ...]:
        """What erasing fills each channel with, as the network sees it."""
        value = self.rectangle.value
        if self.rectangle.space == "normalised":
            return value
        of = self.normalisation
        return tuple((v - mean) / std for v, mean, std in zip(value, of.mean, of.std, strict=True))


def resized(image: np.ndarray, height: int, width: int, interpolation: Interpolation = "bilinear") -> np.ndarray:
    """`(H, W, 3)` uint8 to `(height, width, 3)` uint8, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling[interpolation.upper()]))


def grey_version(images: Tensor, normalisation: Normalisation = IMAGENET) -> Tensor:
    """Normalised `(B, 3, H, W)` to its luma in all three channels, normalised the same way."""
    return normalisation.of_raw((normalisation.raw(images) * of_channels(LUMA, images)).sum(1, keepdim=True))


def jittered(image: np.ndarray, scales: np.ndarray, *, saturation: bool) -> np.ndarray:
    """Brightness, contrast and saturation of a uint8 image scaled by the three `scales`."""
    values = image.astype(np.float32) * np.float32(scales[0])
    mean = values.mean()
    values = mean + (values - mean) * np.float32(scales[1])
    if saturation:
        grey = (values @ _LUMA)[:, :, None]
        values = grey + (values - grey) * np.float32(scales[2])
    return np.clip(values, 0, 255).astype(np.uint8)


def grey_of_normalised(images: Tensor) -> Tensor:
    """`(B, 3, H, W)` normalised to the luma of the normalised channels, three times, not normalised again.

    It is what a release makes that takes a tensor's luma after normalising: three equal channels, of another range than `grey_version`
    has, as the deviations of the colours differ. Constant to the gradient.
    """
    luma = of_channels(NORMALISED_LUMA, images)
    return (images.detach() * luma).sum(1, keepdim=True).expand_as(images)
