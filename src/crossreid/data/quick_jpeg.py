"""Ordinary JPEGs by simplejpeg, if it is installed: the same pixels as from Pillow, in less than half the time.

Both decode with libjpeg-turbo and do the same arithmetic; Pillow only adds copies. Anything that is not clearly
ordinary (EXIF, several pictures in a file, CMYK, damage, large size) is left to Pillow, with all of the checks in
`images`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crossreid.data.costly_files import costly

try:
    import simplejpeg
except ImportError:  # an extra: `pip install 'crossreid[jpeg]'`
    simplejpeg = None

# It cannot be interrupted: with the largest allowed number of scans, this many pixels take less than `images.SECONDS`.
MOST = 16_000_000
_START, _JFIF, _MULTIPLE = b"\xff\xd8", b"JFIF\0", b"MPF\0"
_APP0, _APP2, _SCAN = 0xE0, 0xE2, 0xDA
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
# Segments that do not change the meaning of pixels: tables, restarts, comments, other programs'. They exclude EXIF and
# XMP (0xE1), and Adobe's (0xEE), which defines the colours.
_PASSED_OVER = frozenset((0xDB, 0xC4, 0xDD, 0xFE, _APP0, _APP2, *range(0xE3, 0xEE), 0xEF))


class Header(NamedTuple):
    """The height and width of an ordinary JPEG, in pixels."""

    height: int
    width: int


def quick(content: bytes, *, at_least: tuple[int, int] | None, most: int) -> np.ndarray | None:
    """Decode an ordinary JPEG into `(H, W, 3)` uint8 RGB; None for anything else, which Pillow decodes or rejects.

    Args:
        at_least: (height, width) that suffice, as in `images.decode`.
        most: the most pixels to decode.
    """
    header = None if simplejpeg is None else ordinary(content)
    if header is None or header.height * header.width > min(most, MOST) or costly(content, most) is not None:
        return None
    shrunk = 1 if at_least is None else shrinking(header, at_least)
    size = -(-header.height // shrunk), -(-header.width // shrunk)
    least = {} if shrunk == 1 else {"min_height": size[0], "min_width": size[1]}
    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(content, "RGB", strict=True, **least)
    except Exception:  # damaged, or with a warning: Pillow tries too, and its error is reported
        return None
    return pixels if pixels.shape[:2] == size else None


def shrinking(header: Header, at_least: tuple[int, int]) -> int:
    """Return the factor by which a picture is decoded smaller, as Pillow's `draft` chooses it: 8, 4, 2 or 1."""
    whole = min(header.height // at_least[0], header.width // at_least[1])
    return next((factor for factor in (8, 4, 2) if whole >= factor), 1)


def ordinary(content: bytes) -> Header | None:
    """Return the header of an 8-bit JPEG, grey or in JFIF colours, without EXIF or further pictures; else None."""
    if not content.startswith(_START):
        return None
    position, jfif, found = len(_START), False, None
    while position + 4 <= len(content) and content[position] == 0xFF:
        kind = content[position + 1]
        if kind == _SCAN:
            return found
        length = content[position + 2] << 8 | content[position + 3]
        if kind in (_BASELINE, _PROGRESSIVE):
            found = _frame(content[position + 4 : position + 2 + length], jfif)
            if found is None:
                return None
        elif kind not in _PASSED_OVER or (kind == _APP2 and content.startswith(_MULTIPLE, position + 4)):
            return None
        jfif = jfif or (kind == _APP0 and content.startswith(_JFIF, position + 4))
        position += 2 + length
    return None


def _frame(frame: bytes, jfif: bool) -> Header | None:
    if len(frame) < 6 or frame[0] != 8 or not (frame[5] == 1 or (frame[5] == 3 and jfif)):
        return None
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    return Header(height, width) if height and width else None
