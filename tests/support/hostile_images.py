"""Image files made to cost a decoder minutes or gigabytes, or to make it talk; each is small and made in a moment."""

import io
import struct
import zlib

from PIL import Image

FILL = 200_000


def jpeg(size=(64, 96), **options):
    stream = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def png(width, height, depth=8, kind=2):
    """A PNG of zeros, made a block of rows at a time."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    row = bytes(1 + width * channels * depth // 8)
    packing, packed = zlib.compressobj(1), b""
    for first in range(0, height, 100_000):
        packed += packing.compress(row * min(100_000, height - first))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", packed + packing.flush()), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(width, height, *tags, compression=1, bits=8, channels=1, pixels=b"", order="<"):
    """A TIFF of these (tag, count, value) beside the ordinary ones; a value of bytes lies behind the directory."""
    kind = 2 if channels > 1 else 1
    ordinary = [
        (256, 1, width),
        (257, 1, height),
        (258, 1, bits),
        (259, 1, compression),
        (262, 1, kind),
        (277, 1, channels),
    ]
    entries = sorted([*ordinary, *tags])
    behind = 8 + 2 + 12 * len(entries) + 4
    directory, content = struct.pack(order + "H", len(entries)), b""
    for tag, count, value in entries:
        if isinstance(value, bytes):
            value, content = behind + len(content), content + value
        directory += struct.pack(order + "HHII", tag, 4, count, value)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return start + struct.pack(order + "I", 8) + directory + bytes(4) + content + pixels


def strips(height, **options):
    """A TIFF of one pixel and one strip a row."""
    number = options.get("order", "<") + "I"
    places, sizes = struct.pack(number, 8) * height, struct.pack(number, 1) * height
    return tiff(1, height, (273, height, places), (278, 1, 1), (279, height, sizes), **options)


def plain_text(width, height):
    """Pixels in decimal digits, which Pillow reads in a loop of Python."""
    return f"P3 {width} {height} 255\n".encode() + b"1 " * (3 * width * height)


def run_lengths(width=2000, height=1000):
    """A BMP whose every pixel is a run of its own, which Pillow reads in a loop of Python."""
    stream = io.BytesIO()
    Image.new("P", (width, height)).save(stream, "BMP")
    head = bytearray(stream.getvalue()[: struct.unpack_from("<I", stream.getvalue(), 10)[0]])
    struct.pack_into("<I", head, 30, 1)
    return bytes(head) + b"\x01\x05" * (width * height)


def filled(where, byte=b"\xff", count=FILL):
    """A JPEG with so many bytes for nothing somewhere."""
    content = jpeg(progressive=True)
    scan = content.index(b"\xff\xda")
    at = {
        "after the first marker": 2, "before the first scan": scan, "within a scan": scan + 400, "before the end": len(content) - 2,
        "between scans": content.index(b"\xff\xda", scan + 1),
    }  # fmt: skip
    if where == "after an early end":
        return content[:2] + b"\xff\xd9" + byte * count + content[2:]
    if where == "behind a bare marker":  # as if it had a length
        each = min(count, 20_000)
        block = b"\xff\xf0" + struct.pack(">H", each + 2) + byte * each
        return content[:2] + block * (count // each) + content[2:]
    return content[: at[where]] + byte * count + content[at[where] :]


FILLED = ["after the first marker", "before the first scan", "within a scan", "before the end", "between scans", "after an early end",
          "behind a bare marker"]  # fmt: skip

# What is refused before a decoder sees it: how it is made, and what is said of it.
COSTLY = {
    **{f"fill {where}": ((lambda where=where: filled(where)), "bytes of fill") for where in FILLED},
    "zeros before the first scan": (lambda: filled("before the first scan", b"\0"), "bytes of fill"),
    "strips": (lambda: strips(60_000), "50,000 strips"),
    "strips, big-endian": (lambda: strips(60_000, order=">"), "50,000 strips"),
    "a tile": (
        lambda: tiff(16, 16, (322, 1, 30_000), (323, 1, 30_000), (324, 1, 200), (325, 1, 99), compression=8),
        "tiles of 30,000 x 30,000 pixels",
    ),
    "a column": (lambda: png(1, 40_000_000, 8, 0), "480,000,000 bytes when decoded"),
    "a column of 16 bits": (lambda: png(1, 30_000_000, 16, 6), "360,000,000 bytes when decoded"),
}  # fmt: skip

# What makes libraries written in C, or Pillow, say something each time it is decoded.
TALKATIVE = {
    "an unknown compression": tiff(
        16, 16, (273, 1, 300), (278, 1, 16), (279, 1, 100), compression=8, pixels=bytes(300)
    ),
    "a short strip": tiff(16, 16, (273, 1, 300), (278, 1, 16), (279, 1, 0x7FFFFFF), compression=5, pixels=bytes(300)),
    "packed bits": tiff(16, 16, (273, 1, 300), (278, 1, 16), (279, 1, 100), compression=32773, pixels=bytes(300)),
    "a broken PNG": png(16, 16)[:-30],
    "many pixels": png(30_000, 3_000, 1, 0),  # of which Pillow warns
}
