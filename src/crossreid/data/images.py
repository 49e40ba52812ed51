"""Safe decoding: an image file becomes RGB, decoded right, or is refused by name."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from crossreid.data.pseudo_infrared import pseudo_infrared
from crossreid.data.records import DataError, Record

MAX_PIXELS = 64_000_000
# What Pillow calls images of one 16- or 32-bit channel; their full scale is that of the type, never the file's own range.
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageTooLarge(DataError):
    """More pixels than are decoded."""


class NotAnImage(DataError):
    """Bytes that begin like none of the formats that are read."""


def load_image(source: Record | Path, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """An image file as `(H, W, 3)` uint8 RGB, decoded as `decode` does it.

    A record marked `pseudo_infrared` is turned into it, by a generator of its file's name: the same image each time. Of a
    record with a `box` that part is returned, in coordinates of the upright picture.

    Args:
        at_least: (height, width) that suffice; a larger JPEG is then decoded at a fraction of its size, which is faster.
            With a box the picture is decoded whole, for the box counts its pixels.

    Raises:
        DataError: the file is missing, empty, truncated, no image, of more than 64 million pixels, or smaller than the box;
            it is named.
    """
    path = source.path if isinstance(source, Record) else Path(source)
    box = source.box if isinstance(source, Record) else None
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes). Copy it again, or remove it from the data set.")
        pixels = decode(path, str(path), at_least=None if box else at_least, most=MAX_PIXELS)
    except FileNotFoundError as error:
        raise DataError(f"{path} not found. Check the root and the lists of the data set.") from error
    if box is not None:
        check_box(path, box, pixels.shape[1], pixels.shape[0])
        left, top, right, bottom = box
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    if isinstance(source, Record) and source.pseudo_infrared:
        return pseudo_infrared(pixels, np.random.default_rng(zlib.crc32(path.name.encode())))
    return pixels


def decode(
    file: Path | BinaryIO,
    name: str,
    *,
    at_least: tuple[int, int] | None = None,
    most: int,
    formats: tuple[str, ...] | None = None,
) -> np.ndarray:
    """An open or a named file as `(H, W, 3)` uint8 RGB.

    Grey is repeated over the channels, 16-bit values keep their upper 8 bits, CMYK is converted, transparency is laid
    on white, the EXIF orientation is applied, of an animation the first frame is taken.

    Args:
        name: what errors call the file.
        at_least: (height, width) that suffice of a JPEG.
        most: pixels; the size is read before anything is decoded.
        formats: Pillow's names of those that are read; all that it knows by default.

    Raises:
        ImageTooLarge: of more than `most` pixels.
        NotAnImage: of no format, or none of `formats`.
        DataError: truncated or damaged.
        FileNotFoundError: a path that is not there.
    """
    try:
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > most:
                raise ImageTooLarge(
                    f"{name} has {image.width} x {image.height} pixels; expected at most {most:,}. Crop or shrink it first."
                )
            if at_least is not None and image.format == "JPEG":
                image.draft(None, (at_least[1], at_least[0]))
            return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
    except FileNotFoundError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(
            f"{name} has more pixels than any image that is decoded (DecompressionBombError)."
        ) from error
    except UnidentifiedImageError as error:
        raise NotAnImage(f"{name} is no image that can be decoded (UnidentifiedImageError).") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be decoded: {error}. It is truncated or damaged; copy it again.") from error


def check_box(path: Path, box: tuple[int, int, int, int], width: int, height: int) -> None:
    """Raises `DataError` where a box is empty or lies outside a picture of this size, pixels."""
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DataError(
            f"{path}: the box (left {left}, top {top}, right {right}, bottom {bottom}) does not lie in the picture of "
            f"{width} x {height} pixels. Check the list that gives it."
        )


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE:
        values = np.asarray(image)
        return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; expected 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
