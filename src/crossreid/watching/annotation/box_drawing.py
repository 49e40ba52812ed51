"""Boxes, labels and captions drawn into frames, in all scripts covered by matplotlib's fonts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crossreid.watching.moments import moment

Colour = tuple[int, int, int]
_LABEL = 40  # characters


class Drawing:
    """Draws into frames of one size `(height, width)` in pixels. Codecs require both to be even, so the last row or
    column of an odd frame is duplicated."""

    def __init__(self, height: int, width: int) -> None:
        self._frame = (height, width)
        self.height, self.width = height + height % 2, width + width % 2
        self._line = max(2, round(height / 240))  # chroma in films has half the resolution
        self._letters = max(9, round(height / 34))

    def canvas(self, image: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """A copy `(height, width, 3)` uint8 of a frame to draw into, and a function that maps the frame's boxes."""
        height, width = image.shape[:2]
        if (height, width) == self._frame:
            canvas = np.empty((self.height, self.width, 3), np.uint8)
            canvas[:height, :width] = image
            canvas[height:], canvas[:, width:] = canvas[height - 1], canvas[:, width - 1 : width]
            return canvas, lambda box: box
        scale = min(self._frame[0] / height, self._frame[1] / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[: size[1], : size[0]] = np.asarray(Image.fromarray(image).resize(size))
        return canvas, lambda box: np.asarray(box) * scale

    def box(self, canvas: np.ndarray, box: np.ndarray, label: str, colour: Colour, edge: Colour) -> None:
        """Draw an identity's box with its label above, or inside if there is no room, and a square of its `colour` if
        the edge has another colour."""
        left, top, right, bottom = (round(float(side)) for side in box)
        line = self._line
        for rows, columns in (
            ((top, top + line), (left, right)), ((bottom - line, bottom), (left, right)),
            ((top, bottom), (left, left + line)), ((top, bottom), (right - line, right)),
        ):  # fmt: skip
            _fill(canvas, rows, columns, edge)
        text = _text(label[:_LABEL], self._letters)
        height, width = text.shape[0], text.shape[1] + (0 if edge == colour else text.shape[0])
        row = top - height if top >= height else top + line
        column = min(max(0, left), max(0, self.width - width))
        _fill(canvas, (row, row + height), (column, column + width), edge)
        if edge != colour:
            _fill(canvas, (row + 2, row + height - 2), (column + 2, column + height - 2), colour)
            column += height
        _write(canvas, row, column, text, _readable(edge))

    def caption(self, canvas: np.ndarray, camera: str, time: float) -> None:
        """Draw the camera's name and the time at the top left."""
        text = _text(f"{camera}   {moment(time)}", self._letters)
        area = canvas[: text.shape[0], : text.shape[1]]
        area //= 3
        _write(canvas, 0, 0, text, (255, 255, 255))


def _fill(canvas: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], colour: Colour) -> None:
    canvas[max(0, rows[0]) : max(0, rows[1]), max(0, columns[0]) : max(0, columns[1])] = colour


def _write(canvas: np.ndarray, row: int, column: int, text: np.ndarray, colour: Colour) -> None:
    """Blend a text `(h, w)` of coverage 0 to 255 into the canvas, clipped to it."""
    row, column = max(0, row), max(0, column)
    area = canvas[row : row + text.shape[0], column : column + text.shape[1]]
    share = text[: area.shape[0], : area.shape[1], None].astype(np.uint16)
    area[:] = (area * (255 - share) + np.array(colour, np.uint16) * share) // 255


@lru_cache(maxsize=1024)
def _text(text: str, size: int) -> np.ndarray:
    """A text's coverage `(h, w)` uint8, with a margin."""
    font = _font(size)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    picture = Image.new("L", (max(1, round(right - left)) + size // 2, ascent + descent + 2))
    ImageDraw.Draw(picture).text((size // 4 - left, 1), text, fill=255, font=font)
    return np.asarray(picture)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _readable(ground: Colour) -> Colour:
    """Black or white, whichever is more legible there (Rec. 601 luma)."""
    red, green, blue = ground
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else (255, 255, 255)
