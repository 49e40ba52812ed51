"""Pixel normalisation: mean and deviation of each channel, as the network's weights were trained with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Values in [0, 1] minus `mean`, divided by `std`, one number each for red, green and blue.

    The default is ImageNet's, which most pretrained backbones were trained with.
    """

    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)

    def of_bytes(self, image: np.ndarray) -> Tensor:
        """Convert `(H, W, 3)` uint8 to normalised `(3, H, W)` float32."""
        return self.of_planes(np.ascontiguousarray(image.transpose(2, 0, 1)))  # transposes bytes, not floats

    def of_planes(self, planes: np.ndarray) -> Tensor:
        """Convert `(3, H, W)` uint8 to normalised `(3, H, W)` float32."""
        normalised = np.empty(planes.shape, dtype=np.float32)
        normalise(planes, *self.scale_and_shift, out=normalised)
        return torch.from_numpy(normalised)

    def of_batch(self, images: Tensor) -> Tensor:
        """Normalise `(B, 3, H, W)` uint8 to float32, on their own device."""
        if images.device.type != "cpu":
            scale, shift = (of_channels(values.flatten().tolist(), images.float()) for values in self.scale_and_shift)
            return images.float() * scale - shift
        normalised = roomy(images.shape)
        for planes, out in zip(images.numpy(), normalised.numpy(), strict=True):
            normalise(planes, *self.scale_and_shift, out=out)
        return normalised

    def of_raw(self, raw: Tensor) -> Tensor:
        """Normalise values in [0, 1], `(..., 3, H, W)`."""
        mean, std = _as_tensors(self, raw)
        return (raw - mean) / std

    def raw(self, images: Tensor) -> Tensor:
        """Convert normalised images `(..., 3, H, W)` back to values in [0, 1]."""
        mean, std = _as_tensors(self, images)
        return images * std + mean

    @cached_property
    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the factor for bytes, and what is then subtracted, `(3, 1, 1)` float32 each."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32)[:, None, None], (mean / std).astype(np.float32)[:, None, None]

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}, deviation {std}"


IMAGENET = Normalisation()


def normalise(planes: np.ndarray, scale: np.ndarray, shift: np.ndarray, *, out: np.ndarray) -> None:
    """Write `(3, H, W)` uint8 times `scale` minus `shift` into `out`: three passes over an image in cache."""
    np.copyto(out, planes)
    out *= scale
    out -= shift


def roomy(shape: Sequence[int]) -> Tensor:
    """Allocate float32 values, aligned like torch's. By NumPy, which uses huge pages for large arrays; torch uses small
    ones.
    """
    count = 4 * math.prod(shape)
    room = np.empty(count + 64, dtype=np.uint8)
    first = -room.ctypes.data % 64
    return torch.from_numpy(room[first : first + count].view(np.float32)).view(tuple(shape))


def _as_tensors(normalisation: Normalisation, like: Tensor) -> tuple[Tensor, Tensor]:
    return of_channels(normalisation.mean, like), of_channels(normalisation.std, like)


def of_channels(numbers: Sequence[float], like: Tensor) -> Tensor:
    """Return a number per channel as `(3, 1, 1)`, filled on the device of `like`: a copy would wait for it."""
    return torch.cat([like.new_full((1, 1, 1), number) for number in numbers])
