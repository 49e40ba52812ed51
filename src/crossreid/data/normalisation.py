"""The scale that a network sees pixels on: mean and deviation of each channel, those its weights were trained with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Values from 0 to 1 less `mean`, divided by `std`, one number of each for red, green and blue.

    The default is ImageNet's, which most pretrained backbones were trained with.
    """

    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)

    def of_bytes(self, image: np.ndarray) -> Tensor:
        """`(H, W, 3)` uint8 to normalised `(3, H, W)` float32."""
        channels = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32)  # bytes are moved, not floats
        scale, shift = self._scale_and_shift
        channels *= scale
        channels -= shift
        return torch.from_numpy(channels)

    def of_raw(self, raw: Tensor) -> Tensor:
        """Values from 0 to 1, `(..., 3, H, W)`, normalised."""
        mean, std = _as_tensors(self, raw)
        return (raw - mean) / std

    def raw(self, images: Tensor) -> Tensor:
        """Normalised images `(..., 3, H, W)` as values from 0 to 1."""
        mean, std = _as_tensors(self, images)
        return images * std + mean

    @cached_property
    def _scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32)[:, None, None], (mean / std).astype(np.float32)[:, None, None]

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}, deviation {std}"


IMAGENET = Normalisation()


def _as_tensors(normalisation: Normalisation, like: Tensor) -> tuple[Tensor, Tensor]:
    return of_channels(normalisation.mean, like), of_channels(normalisation.std, like)


def of_channels(numbers: Triple, like: Tensor) -> Tensor:
    """A number for each channel as `(3, 1, 1)`, filled in on the device of `like`: for a copy from the host it would be waited for."""
    return torch.cat([like.new_full((1, 1, 1), number) for number in numbers])
