"""Channel augmented joint learning as its authors released it: each visible image twice, and all of it on normalised values.

Source: the release of Ye et al., "Channel augmented joint learning for visible-infrared recognition", ICCV 2021. Of every
visible image a batch holds two versions, each padded, cropped, flipped and erased by itself; the second then shows one of its
channels three times. An infrared image does so three times in four, else it is made grey or left as it is, as likely. The
values that change places have been normalised already, so a channel keeps the mean and deviation that it had; a rectangle
is erased with constants that belong to images in [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crossreid.data.normalisation import of_channels

LUMA = (0.2989, 0.5870, 0.1140)
ERASED = (0.4914, 0.4822, 0.4465)
AREA, RATIO, TRIES = (0.02, 0.4), (0.3, 1 / 0.3), 100


def joint_channels(
    images: Tensor, modalities: Tensor, copies: int, generator: np.random.Generator, *, erasing: float
) -> Tensor:
    """Normalised images `(B, 3, H, W)` of modalities `(B,)`, the last `copies` of them the second versions, augmented.

    Args:
        erasing: probability of a rectangle, before anything else.
    """
    images = erased_by_constants(images, erasing, generator)
    count = len(images)
    drawn, half = generator.integers(0, 4, size=count), generator.random(count)
    second = np.arange(count) >= count - copies
    infrared = modalities.cpu().numpy() == 1
    # A second version always shows a channel: its draw is of three, not of four.
    channel = np.where(second, generator.integers(0, 3, size=count), drawn)
    exchanged = second | (infrared & (channel < 3))
    grey = ~second & infrared & (channel == 3) & (half <= 0.5)
    rows = torch.arange(count, device=images.device)
    one = images[rows, torch.from_numpy(np.minimum(channel, 2)).to(images.device)][:, None].expand_as(images)
    images = torch.where(_mask(exchanged, images), one, images)
    return torch.where(_mask(grey, images), luma_of_normalised(images), images)


def luma_of_normalised(images: Tensor) -> Tensor:
    """`(B, 3, H, W)`, normalised, to the luma of these very values in all three channels, not normalised again."""
    return (images * of_channels(LUMA, images)).sum(1, keepdim=True).expand_as(images)


def erased_by_constants(images: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """With `probability` a rectangle of an image holds `ERASED` in each channel; those given stay as they are.

    Its area and its ratio of height to width are uniform in `AREA` and `RATIO`, its sides rounded; one that is not smaller than
    the image is drawn again, at most `TRIES` times.
    """
    inside = np.zeros((len(images), 1, *images.shape[2:]), dtype=bool)
    for row in np.flatnonzero(generator.random(len(images)) < probability):
        box = rectangle(images.shape[2], images.shape[3], generator)
        if box is not None:
            top, left, height, width = box
            inside[row, :, top : top + height, left : left + width] = True
    values = images.new_tensor(ERASED)[:, None, None]
    return torch.where(torch.from_numpy(inside).to(images.device), values, images)


def rectangle(height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of a rectangle to erase; None where none that was drawn is smaller than the image."""
    for _ in range(TRIES):
        sides = sides_of(generator.uniform(*AREA), generator.uniform(*RATIO), height, width)
        if sides[0] < height and sides[1] < width:
            top = int(generator.integers(0, height - sides[0] + 1))
            left = int(generator.integers(0, width - sides[1] + 1))
            return top, left, *sides
    return None


def sides_of(share: float, ratio: float, height: int, width: int) -> tuple[int, int]:
    """Height and width, rounded, of a rectangle of that share of an image's area and that ratio of height to width."""
    area = share * height * width
    return round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)


def _mask(rows: np.ndarray, images: Tensor) -> Tensor:
    return torch.from_numpy(rows).to(images.device)[:, None, None, None]
