"""From a decoded image to network input; each transform is a pure function of the image and a generator.

Drawing and applying are separate: `TrainTransform.drawn` makes every draw where the image is decoded, and the draws are
applied to single images here, or to whole batches on a device in `network_input`. Transforms of the channels of whole
batches are in `channels`, except `grey_version`, which evaluation needs too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crossreid.data.erasing import NOWHERE, Box, RectangleOptions, box_to_erase
from crossreid.data.normalisation import IMAGENET, Normalisation, of_channels
from crossreid.data.pseudo_infrared import pseudo_infrared as make_pseudo_infrared
from crossreid.data.records import Modality

Interpolation = Literal["bilinear", "bicubic", "lanczos"]
# The luma as in the releases: with four digits, from normalised channels.
NORMALISED_LUMA = (0.2989, 0.5870, 0.1140)
# Rec. 601 luma, as in Pillow's and OpenCV's conversion to grey.
LUMA = (0.299, 0.587, 0.114)
_LUMA = np.array(LUMA, dtype=np.float32)


@dataclass(frozen=True)
class EvalTransform:
    """Transforms `(H, W, 3)` uint8 to `(3, height, width)` float32: resized and normalised."""

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    normalisation: Normalisation = IMAGENET

    def __call__(self, image: np.ndarray) -> Tensor:
        return self.normalisation.of_bytes(self.resized(image))

    def resized(self, image: np.ndarray) -> np.ndarray:
        """Resize `(H, W, 3)` uint8 to `(height, width, 3)` uint8."""
        return resized(image, self.height, self.width, self.interpolation)


@dataclass(frozen=True)
class TrainTransform:
    """Transforms `(H, W, 3)` uint8 to `(3, height, width)` float32, augmented with a generator that is passed in.

    flip, erasing, grey, pseudo_infrared are probabilities, the last two for visible images only; pad is in pixels of
    network input, filled with the grey level pad_value, 0 to 255; jitter j scales brightness, contrast and (visible
    images) saturation by up to 1 +- j; `rectangle` defines what is erased.
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
        pixels, drawn = self.drawn(image, generator, modality)
        tensor = self.normalisation.of_planes(self.as_drawn(pixels, drawn))
        top, left, bottom, right = drawn.erase
        tensor[:, top:bottom, left:right] = of_channels(self.fill, tensor)
        return tensor

    def drawn(self, image: np.ndarray, generator: np.random.Generator, modality: Modality) -> tuple[np.ndarray, Drawn]:
        """Return the resized image, `(height, width, 3)` uint8, and its draws.

        Pseudo-infrared, and the steps before it, are applied at once: they take a random number per pixel.
        """
        image = resized(image, self.height, self.width, self.interpolation)
        # Every draw is made whatever the options, so that changing one augmentation does not change the draws of
        # others.
        flip, erase, grey, pseudo = generator.random(4).tolist()
        top, left = generator.integers(0, 2 * self.pad + 1, size=2).tolist()
        scales = [1 + self.jitter * value for value in generator.uniform(-1, 1, size=3).tolist()]
        visible = modality == Modality.VISIBLE
        drawn = Drawn(
            flip=flip < self.flip, top=top, left=left, grey=visible and grey < self.grey, scales=tuple(scales),
            saturation=visible,
        )  # fmt: skip
        if visible and pseudo < self.pseudo_infrared:
            image = make_pseudo_infrared(as_pixels(moved(image, drawn, self.pad, self.pad_value)), generator)
            drawn = Drawn(flip=False, top=self.pad, left=self.pad, grey=False, scales=drawn.scales, saturation=False)
        if erase < self.erasing:
            drawn = drawn._replace(erase=box_to_erase(self.height, self.width, generator, self.rectangle))
        return image, drawn

    def as_drawn(self, image: np.ndarray, drawn: Drawn) -> np.ndarray:
        """Return `(3, height, width)` uint8 with all draws applied except erasing, which is done after normalising."""
        planes = moved(image, drawn, self.pad, self.pad_value)
        if not drawn.grey and not self.jitter:
            return planes
        image = as_pixels(planes)
        if drawn.grey:
            image = np.repeat((image @ _LUMA).astype(np.uint8)[:, :, None], 3, axis=2)
        if self.jitter:
            image = jittered(image, np.array(drawn.scales), saturation=drawn.saturation)
        return as_planes(image)

    @property
    def fill(self) -> tuple[float, ...]:
        """Return the erasing fill of each channel, on the network's scale."""
        value = self.rectangle.value
        if self.rectangle.space == "normalised":
            return value
        of = self.normalisation
        return tuple((v - mean) / std for v, mean, std in zip(value, of.mean, of.std, strict=True))


class Drawn(NamedTuple):
    """The draws for one image, in this order: flip, crop out of its padding, grey, jitter, erase.

    `top` and `left` are those of the crop in the padded image, in pixels, and `pad` if it is not shifted; `scales` are
    for brightness, contrast and, with `saturation`, saturation; `erase` is a box (top, left, bottom, right).
    """

    flip: bool
    top: int
    left: int
    grey: bool
    scales: tuple[float, ...]
    saturation: bool
    erase: Box = NOWHERE


def moved(image: np.ndarray, drawn: Drawn, pad: int, level: int) -> np.ndarray:
    """Return `(H, W, 3)` flipped, padded by `pad` pixels of `level`, and cropped at the drawn position: `(3, H, W)`.

    It is flipped last, at the mirrored position, as planes: NumPy reverses three-byte pixels one by one.
    """
    y, x = drawn.top - pad, (pad - drawn.left if drawn.flip else drawn.left - pad)
    if y or x:
        height, width = image.shape[:2]
        crop = np.full_like(image, level) if level else np.zeros_like(image)
        crop[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)] = image[
            max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)
        ]
        image = crop
    planes = as_planes(image)
    return torch.from_numpy(planes).flip(2).numpy() if drawn.flip else planes


def as_planes(image: np.ndarray) -> np.ndarray:
    """Return `(H, W, 3)` as `(3, H, W)`, contiguous by channel."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def as_pixels(planes: np.ndarray) -> np.ndarray:
    """Return `(3, H, W)` as `(H, W, 3)`."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def resized(image: np.ndarray, height: int, width: int, interpolation: Interpolation = "bilinear") -> np.ndarray:
    """Resize `(H, W, 3)` uint8 to `(height, width, 3)` uint8, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling[interpolation.upper()]))


def grey_version(images: Tensor, normalisation: Normalisation = IMAGENET) -> Tensor:
    """Convert normalised `(B, 3, H, W)` to its luma in all three channels, normalised the same way."""
    luma = of_channels(LUMA, images)
    return normalisation.of_raw((normalisation.raw(images) * luma).sum(1, keepdim=True))


def jittered(image: np.ndarray, scales: np.ndarray, *, saturation: bool) -> np.ndarray:
    """Scale brightness, contrast and saturation of a uint8 image by the three `scales`."""
    values = image.astype(np.float32) * np.float32(scales[0])
    mean = values.mean()
    values = mean + (values - mean) * np.float32(scales[1])
    if saturation:
        grey = (values @ _LUMA)[:, :, None]
        values = grey + (values - grey) * np.float32(scales[2])
    return np.clip(values, 0, 255).astype(np.uint8)


def grey_of_normalised(images: Tensor) -> Tensor:
    """Convert normalised `(B, 3, H, W)` to the luma of the normalised channels, three times, without normalising again.

    This is what a release computes that takes the luma of a tensor after normalising: three equal channels, with
    another range than `grey_version` has, because the deviations of the colours differ. It is constant for the
    gradient.
    """
    luma = of_channels(NORMALISED_LUMA, images)
    return (images.detach() * luma).sum(1, keepdim=True).expand_as(images)
