"""Channel augmented joint learning as its authors released it: each visible image twice, all on normalised values.

Source: the release of Ye et al., "Channel augmented joint learning for visible-infrared recognition", ICCV 2021. A
batch has two versions of every visible image, each padded, cropped, flipped and erased independently; in the second,
one channel replaces all three. An infrared image has this in three of four cases; otherwise it is made grey or left as
it is, with equal probability. The channel values were normalised before the exchange, so a channel keeps its own mean
and deviation; a rectangle is erased with constants that belong to images in [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crossreid.data.normalisation import of_channels
from crossreid.data.sending import sent

LUMA = (0.2989, 0.5870, 0.1140)
ERASED = (0.4914, 0.4822, 0.4465)
AREA, RATIO, TRIES = (0.02, 0.4), (0.3, 1 / 0.3), 100


def joint_channels(
    images: Tensor, modalities: Tensor, copies: int, generator: np.random.Generator, *, erasing: float
) -> Tensor:
    """Augment normalised images `(B, 3, H, W)` of modalities `(B,)`, of which the last `copies` are the second
    versions.

    Args:
        erasing: probability of erasing a rectangle, before everything else.
    """
    images = erased_by_constants(images, erasing, generator)
    count = len(images)
    drawn, half = generator.integers(0, 4, size=count), generator.random(count)
    second = np.arange(count) >= count - copies
    # A second version always shows one channel: its draw has three outcomes, not four.
    channel = np.where(second, generator.integers(0, 3, size=count), drawn)
    # The outcome if an image is infrared, which the host may not know yet and is not asked for.
    if_infrared = np.stack([channel < 3, (channel == 3) & (half <= 0.5)]) & ~second
    infrared = (modalities == 1) & sent(if_infrared, images.device)
    exchanged, grey = sent(second, images.device) | infrared[0], infrared[1]
    rows = torch.arange(count, device=images.device)
    one = images[rows, sent(np.minimum(channel, 2), images.device)][:, None].expand_as(images)
    images = torch.where(_mask(exchanged), one, images)
    return torch.where(_mask(grey), luma_of_normalised(images), images)


def luma_of_normalised(images: Tensor) -> Tensor:
    """Convert normalised `(B, 3, H, W)` to the luma of these values in all channels, without normalising again."""
    return (images * of_channels(LUMA, images)).sum(1, keepdim=True).expand_as(images)


def erased_by_constants(images: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """With `probability`, fill a rectangle of an image with `ERASED` per channel; the input is not modified.

    Its area and its height-to-width ratio are uniform in `AREA` and `RATIO`, its sides rounded; one that is not smaller
    than the image is drawn again, at most `TRIES` times.
    """
    inside = np.zeros((len(images), 1, *images.shape[2:]), dtype=bool)
    for row in np.flatnonzero(generator.random(len(images)) < probability):
        box = rectangle(images.shape[2], images.shape[3], generator)
        if box is not None:
            top, left, height, width = box
            inside[row, :, top : top + height, left : left + width] = True
    return torch.where(sent(inside, images.device), of_channels(ERASED, images), images)


def rectangle(height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Return top, left, height and width of a rectangle to erase; None if no drawn one is smaller than the image."""
    for _ in range(TRIES):
        sides = sides_of(generator.uniform(*AREA), generator.uniform(*RATIO), height, width)
        if sides[0] < height and sides[1] < width:
            top = int(generator.integers(0, height - sides[0] + 1))
            left = int(generator.integers(0, width - sides[1] + 1))
            return top, left, *sides
    return None


def sides_of(share: float, ratio: float, height: int, width: int) -> tuple[int, int]:
    """Return the rounded height and width of a rectangle with that share of an image's area and that height-to-width
    ratio.
    """
    area = share * height * width
    return round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)


def _mask(rows: Tensor) -> Tensor:
    return rows[:, None, None, None]
