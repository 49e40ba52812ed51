"""From the bytes of a batch, and the random draws for each image, to the float32 input of a network.

Bytes are a quarter of the size of floats, so loader processes pass bytes and a table of draws. On a CPU they have
already applied the draws to each image, except normalising and erasing; on a GPU everything is done there, for all
images at once and without waiting for the host. The draws are the same either way; pixels differ by at most one grey
level in 255 where grey or jitter round, and are equal elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossreid.data.normalisation import normalise, roomy
from crossreid.data.sending import sent
from crossreid.data.transforms import LUMA, Drawn, TrainTransform

_THOUSANDTHS = tuple(round(1000 * weight) for weight in LUMA)


class Table(NamedTuple):
    """The draws for N images: integers `(N, 10)` int64 in the order of `table_of`, jitter scales `(N, 3)` float32."""

    whole: Tensor
    scales: Tensor


def table_of(drawn: Sequence[Drawn], domains: Sequence[int]) -> Table:
    """Return the table of draws for images of the sources with these indices."""
    whole = [
        (domain, one.flip, one.top, one.left, one.grey, one.saturation, *one.erase)
        for one, domain in zip(drawn, domains, strict=True)
    ]
    scales = torch.tensor([one.scales for one in drawn], dtype=torch.float32)
    return Table(torch.tensor(whole, dtype=torch.int64).view(-1, 10), scales.view(-1, 3))


class NetworkInput:
    """Turns bytes and a table into network input `(N, 3, H, W)` float32.

    Args:
        transforms: one per source; for what is done here, they differ only in normalisation.
    """

    def __init__(self, transforms: Sequence[TrainTransform]) -> None:
        self.of = transforms[0]
        scales, shifts = zip(*(transform.normalisation.scale_and_shift for transform in transforms), strict=True)
        self.scale, self.shift = np.stack(scales), np.stack(shifts)
        self.fill = np.array([transform.fill for transform in transforms], dtype=np.float32)
        self._constants: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def on_host(self, pixels: Tensor, table: Table) -> Tensor:
        """Convert bytes `(N, 3, H, W)` that are already shifted, grey and jittered. On the CPU, image by image."""
        result = roomy(pixels.shape)
        of_images = zip(pixels.numpy(), result.numpy(), table.whole.tolist(), strict=True)
        for planes, out, (domain, *_, top, left, bottom, right) in of_images:
            normalise(planes, self.scale[domain], self.shift[domain], out=out)
            out[:, top:bottom, left:right] = self.fill[domain][:, None, None]
        return result

    def on_device(self, pixels: Tensor, table: Table) -> Tensor:
        """Convert bytes `(N, H, W, 3)` as decoded, with both arguments on the device. In memory, channels come last."""
        domain, flip, top, left, grey, saturation, *box = table.whole.unbind(1)
        images = self._moved(pixels, flip == 1, top, left)
        if self.of.grey:
            images = torch.where(_each(grey == 1), _luma(images), images)
        values = images.float()
        if self.of.jitter:
            values = self._jittered(values, table.scales, saturation == 1)
        scale, shift, fill = (constant.index_select(0, domain) for constant in self._constants_on(pixels.device))
        values = values * scale - shift
        if self.of.erasing:
            values = torch.where(_inside(box, *pixels.shape[1:3])[..., None], fill, values)
        return values.permute(0, 3, 1, 2)

    def _moved(self, pixels: Tensor, flip: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Flip, pad and crop: gather the source pixel of each pixel of the result."""
        count, height, width, _ = pixels.shape
        pad = self.of.pad
        y = torch.arange(height, device=pixels.device) + (top - pad)[:, None]
        x = torch.arange(width, device=pixels.device) + (left - pad)[:, None]
        seen = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        x = torch.where(flip[:, None], width - 1 - x, x)
        row = torch.arange(count, device=pixels.device)[:, None, None]
        shown = pixels[row, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
        return torch.where(seen[..., None], shown, self.of.pad_value) if pad else shown

    @staticmethod
    def _jittered(values: Tensor, scales: Tensor, saturation: Tensor) -> Tensor:
        brightness, contrast, colour = (_each(scale) for scale in scales.unbind(1))
        values = values * brightness
        mean = values.mean((1, 2, 3), keepdim=True)
        values = mean + (values - mean) * contrast
        red, green, blue = values.unbind(3)
        grey = (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2])[..., None]
        values = torch.where(_each(saturation), grey + (values - grey) * colour, values)
        return values.clamp(0, 255).floor()

    def _constants_on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return scale, shift and fill `(K, 1, 1, 3)` of K sources, copied to the device once."""
        if device not in self._constants:
            scale, shift, fill = (
                sent(constant.reshape(-1, 1, 1, 3), device) for constant in (self.scale, self.shift, self.fill)
            )
            self._constants[device] = scale, shift, fill
        return self._constants[device]


def _luma(images: Tensor) -> Tensor:
    """Return the luma of bytes `(N, H, W, 3)`, truncated to whole levels, in all three channels; exact, computed in
    thousandths.
    """
    red, green, blue = (channel.int() * weight for channel, weight in zip(images.unbind(3), _THOUSANDTHS, strict=True))
    grey = ((red + green + blue) // 1000).to(torch.uint8)
    return grey[..., None].expand_as(images)


def _inside(box: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Return which pixels lie in boxes (top, left, bottom, right), each `(N,)`, as `(N, H, W)`."""
    top, left, bottom, right = (side[:, None] for side in box)
    y, x = (torch.arange(length, device=top.device) for length in (height, width))
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :]


def _each(values: Tensor) -> Tensor:
    """Reshape one value per image, `(N,)`, to broadcast with pixels `(N, H, W, 3)`."""
    return values[:, None, None, None]
