"""Detect small files that take a decoder minutes or gigabytes, from their bytes, before a decoder sees them.

A JPEG is decoded again for each of its scans (progressive ones have about 10), and what precedes the first scan is read
segment by segment and, between segments, byte by byte; a PNG is read chunk by chunk and a TIFF strip by strip. One pass
over the bytes finds files with far too many of these. What it misses is left to `deadline`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MAX_SCANS, MAX_CHUNKS = 100, 50_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TIFF = (b"II*\0", b"II\0*", b"II+\0", b"MM\0*", b"MM*\0", b"MM\0+")
# The byte that starts a segment and ends a scan or the image; or fill, 0xFF after 0xFF, the last of which may start a
# segment.
_MARKER, _FILL = re.compile(rb"\xff[^\x00\x01\xd0-\xd8]"), re.compile(rb"\xff+")
_SCAN, _END = 0xDA, 0xD9
# Markers that Pillow skips by themselves: what follows them before the first scan is read byte by byte.
_BARE = frozenset((0xC8, _END, *range(0xF0, 0xFE)))
_STRIPS, _TILE_SIDES = (273, 324), (322, 323)
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # bytes of a whole number, by its type in TIFF


def costly(content: bytes, most: int) -> str | None:
    """Return what makes a file too costly to decode, as the end of a sentence about it; None if nothing does.

    Args:
        content: the whole file.
        most: the most pixels to decode; a TIFF tile may not have more.
    """
    if content.startswith(_PNG):
        if _chunks(content, MAX_CHUNKS + 1) > MAX_CHUNKS:
            return f"has more than {MAX_CHUNKS:,} chunks; save it again as an ordinary PNG"
    elif content.startswith(_JPEG):
        return _costly_jpeg(content)
    elif content.startswith(_TIFF):
        return _costly_tiff(content, most)
    return None


def _costly_jpeg(content: bytes) -> str | None:
    """As `costly`, for the segments of a JPEG's first image; their content, such as a preview, is skipped.

    What lies between them is skipped as decoders do it, and so are a scan's pixels, in which 0xFF is followed by 0 or a
    restart. One loop, because every training image passes through it.
    """
    position, scans, segments, bare = len(_JPEG), 0, 0, 0
    while True:
        found = _MARKER.search(content, position)
        start = len(content) if found is None else found.start()
        if not scans:  # read byte by byte
            bare += start - position
        if found is not None and content[start + 1] == 0xFF:
            run = _FILL.match(content, start)
            assert run is not None
            bare, position = bare + run.end() - 1 - start, run.end() - 1
        if bare > MAX_CHUNKS:
            return f"has more than {MAX_CHUNKS:,} bytes of fill between its segments; save it again as an ordinary JPEG"
        if found is None:
            return None
        if content[start + 1] == 0xFF:
            continue
        kind, position = content[start + 1], start + 2
        scans, segments = scans + (kind == _SCAN), segments + 1
        if scans > MAX_SCANS:
            return f"has more than {MAX_SCANS} scans; save it again as an ordinary JPEG"
        if segments > MAX_CHUNKS:
            return f"has more than {MAX_CHUNKS:,} segments; save it again as an ordinary JPEG"
        if scans and kind == _END:
            return None
        if scans or kind not in _BARE:
            position += content[position] << 8 | content[position + 1] if position + 2 <= len(content) else 2


def _chunks(content: bytes, most: int) -> int:
    """Count the chunks of a PNG, up to `most`."""
    position, count = len(_PNG), 0
    while position + 8 <= len(content) and count < most:
        position += 12 + struct.unpack_from(">I", content, position)[0]
        count += 1
    return count


def _costly_tiff(content: bytes, most: int) -> str | None:
    sides = [0, 0]
    for tag, count, value in _tags(content):
        if tag in _STRIPS and count > MAX_CHUNKS:
            return f"has more than {MAX_CHUNKS:,} strips or tiles; save it again as an ordinary TIFF"
        if tag in _TILE_SIDES:
            side = _TILE_SIDES.index(tag)
            sides[side] = max(sides[side], value)
    if sides[0] * sides[1] > most:
        return f"has tiles of {sides[0]:,} x {sides[1]:,} pixels; save it again as an ordinary TIFF"
    return None


def _tags(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, count, value) of a TIFF's first directory; value is that of a single whole number, else 0."""
    order, big = ("<" if content[:1] == b"I" else ">"), 0x2B in content[2:4]
    first, number, entry, inline = (8, "Q", "HHQ", 8) if big else (4, "I", "HHI", 4)
    try:
        at = struct.unpack_from(order + number, content, first)[0]
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), content, at)
        at += 8 if big else 2
        for _ in range(min(entries, 65_535)):
            tag, kind, count = struct.unpack_from(order + entry, content, at)
            at += struct.calcsize(order + entry)
            size = _SIZES.get(kind, 0) if count == 1 else 0
            value = int.from_bytes(content[at : at + size], "little" if order == "<" else "big")
            at += inline
            yield tag, count, value
    except (struct.error, OverflowError):  # the file ends within its directory: a decoder will report it
        return
