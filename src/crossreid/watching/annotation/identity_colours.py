"""One colour per identity, the same in every film and on the service's page (service/page/people.js has these hues)."""

from __future__ import annotations

import colorsys

GOLDEN_ANGLE = 137.508  # degrees; neighbouring numbers are far apart, and no hue repeats
GREY = (128, 128, 128)


def hue_of(number: int) -> float:
    """The hue of an identity by its number, in degrees, [0, 360)."""
    return (number * GOLDEN_ANGLE) % 360


def colour_of(number: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, bright enough to be visible in films by day and by night."""
    red, green, blue = colorsys.hls_to_rgb(hue_of(number) / 360, 0.58, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
