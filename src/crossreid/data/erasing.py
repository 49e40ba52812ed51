"""Random erasing: a rectangle of a training image is overwritten (Zhong et al., "Random erasing", AAAI 2020).

Releases differ in the rectangle's size, how its shape is drawn, what happens if it does not fit, and its fill:
`RectangleOptions` covers each of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.options import Options


class RectangleOptions(Options):
    area: tuple[float, float] = Field((0.02, 0.4), description="Smallest and largest share of the image to erase.")
    aspect: tuple[float, float] = Field((0.3, 1 / 0.3), description="Smallest and largest height / width.")
    aspect_draw: Literal["log", "even"] = Field(
        "log", description="Draw height / width uniformly on a logarithmic scale (`log`) or on a linear one (`even`)."
    )
    tries: int = Field(
        0,
        ge=0,
        description="Number of draws until a rectangle is smaller than the image on both sides; if none is, nothing "
        "is erased. 0: draw once and clip to the image.",
    )
    value: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="Value that each channel is filled with.")
    space: Literal["normalised", "image"] = Field(
        "normalised", description="Scale of `value`: that of the normalised image, or of the image in [0, 1]."
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise CrossreidError(f"area is {list(self.area)}, expected two shares of the image, smaller one first")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise CrossreidError(f"aspect is {list(self.aspect)}, expected two numbers above 0, smaller one first")
        return self


def erased(
    tensor: Tensor,
    generator: np.random.Generator,
    rectangle: RectangleOptions | None = None,
    *,
    fill: Sequence[float] | None = None,
) -> Tensor:
    """Fill one rectangle of `(C, H, W)` in place; by default 2 to 40% of the area with 0, the mean colour.

    Args:
        fill: one value per channel, on the scale of `tensor`; by default the rectangle's own `value`.
    """
    rectangle = rectangle or RectangleOptions()
    _, height, width = tensor.shape
    top, left, bottom, right = box_to_erase(height, width, generator, rectangle)
    tensor[:, top:bottom, left:right] = tensor.new_tensor(fill or rectangle.value)[:, None, None]
    return tensor


Box = tuple[int, int, int, int]
NOWHERE: Box = (0, 0, 0, 0)


def box_to_erase(height: int, width: int, generator: np.random.Generator, rectangle: RectangleOptions) -> Box:
    """Return top, left, bottom and right of the rectangle to erase; `NOWHERE` if none of the tries fits."""
    sides = _sides(height, width, generator, rectangle)
    if sides is None:
        return NOWHERE
    h, w = sides
    y, x = int(generator.integers(0, height - h + 1)), int(generator.integers(0, width - w + 1))
    return y, x, y + h, x + w


def _sides(
    height: int, width: int, generator: np.random.Generator, rectangle: RectangleOptions
) -> tuple[int, int] | None:
    """Return height and width of the rectangle; None if none of the tries fits."""
    for _ in range(rectangle.tries or 1):
        area = generator.uniform(*rectangle.area) * height * width
        low, high = rectangle.aspect
        if rectangle.aspect_draw == "log":
            aspect = np.exp(generator.uniform(np.log(low), np.log(high)))
        else:
            aspect = generator.uniform(low, high)
        h, w = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if not rectangle.tries:
            return int(min(max(h, 1), height)), int(min(max(w, 1), width))
        h, w = round(h), round(w)  # rounded half to even, as in the releases
        if 0 < h < height and 0 < w < width:
            return h, w
    return None
