"""Safe decoding: an image file becomes correctly decoded RGB, or an error names it."""

from __future__ import annotations

import errno
import io
import stat
import zlib
from pathlib import Path
from typing import BinaryIO, NotRequired, Protocol, TypedDict, Unpack

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from crossreid.data import object_storage
from crossreid.data.addresses import Address, Place
from crossreid.data.costly_files import costly
from crossreid.data.deadline import Overrun, deadline
from crossreid.data.levels import as_bytes
from crossreid.data.pseudo_infrared import pseudo_infrared
from crossreid.data.quick_jpeg import quick
from crossreid.data.records import DataError, PictureLevels, Record
from crossreid.errors import CrossreidError

# Pillow's names of supported formats; its JPEG also opens what it then calls MPO (several JPEGs in a file, as phones
# write). It knows more formats, and runs other programs for some: Ghostscript for EPS.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
MAX_PIXELS, MAX_BYTES = 64_000_000, 1 << 30
# Bytes that decoding may take per allowed pixel: Pillow holds 4, plus 8 for a pointer to each row, which dominate in an
# image with one column; for TIFF with 16 bits per channel, the whole data are held as well.
MAX_DEPTH, _POINTER = 5, 8
SECONDS = 20  # of computing, after which decoding is aborted
# System errors about a name that leads to no file, rather than about a disk, a network or a limit.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG)
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
# Pillow's modes for one 16- or 32-bit channel; their full scale is that of the type, never the file's own range.
WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageTooLarge(DataError):
    """Over a limit of decoding: pixels, bytes, or time."""


class NotAnImage(DataError):
    """Bytes that do not begin like any supported format."""


class CannotBeRead(OSError):
    """The system cannot read a file: no permission, a failing disk, too many open files. The image is not at fault.

    Not a `DataError`: code that skips bad images must stop here, or it would skip a whole disk.
    """

    def __init__(self, told: str) -> None:
        # torch passes on a loader process's error as its class and a traceback text, which ends with our message.
        super().__init__(told.rpartition(f"{type(self).__name__}: ")[2].rstrip())


class Wanted(TypedDict):
    """Options for a file's pixels, as in `decode`."""

    at_least: tuple[int, int] | None
    most: int
    formats: tuple[str, ...]
    levels: NotRequired[PictureLevels]


class Decode(Protocol):
    """Decodes the bytes of a file called `name`, as `decode` does."""

    def __call__(self, content: bytes, name: str, **wanted: Unpack[Wanted]) -> np.ndarray: ...


def decode_in_time(content: bytes, name: str, **wanted: Unpack[Wanted]) -> np.ndarray:
    """As `decode`, for bytes, in this process, by `quick_jpeg` if that gives the same result.

    Also raises `ImageTooLarge` if decoding takes more than 20 seconds of computing.
    """
    if "JPEG" in wanted["formats"]:
        pixels = quick(content, at_least=wanted["at_least"], most=wanted["most"])
        if pixels is not None:
            return pixels
    try:
        with deadline(SECONDS):
            return decode(io.BytesIO(content), name, **wanted)
    except Overrun as error:
        raise ImageTooLarge(
            f"{name} takes more than {SECONDS} seconds to decode; save it again as an ordinary JPEG or PNG."
        ) from error


def load_image(
    source: Record | Path, *, at_least: tuple[int, int] | None = None, decoding: Decode = decode_in_time,
    content: bytes | None = None,
) -> np.ndarray:  # fmt: skip
    """Load an image file as `(H, W, 3)` uint8 RGB, decoded as in `decode`.

    A record marked `pseudo_infrared` is converted, with a generator seeded by its file's name: the same image every
    time. For a record with a `box`, that part is returned, in coordinates of the upright picture.

    Args:
        at_least: (height, width) that suffice; a larger JPEG is then decoded at a fraction of its size, which is
            faster. With a box the whole picture is decoded, because the box counts its pixels.
        decoding: decodes the file's bytes; in this process by default.
        content: the file's bytes, if `content_of` has already read them.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, larger than 64 million pixels, decoded for
            longer than 20 seconds, or smaller than the box; it is named.
        CannotBeRead: the system cannot read it.
    """
    path = source.path if isinstance(source, Record) else source
    box, levels = (source.box, source.levels) if isinstance(source, Record) else (None, None)
    # Read completely first: errors after that are the image's fault.
    content = content_of(path) if content is None else content
    pixels = decoding(
        content, str(path), at_least=None if box else at_least, most=MAX_PIXELS, formats=FORMATS, levels=levels
    )
    if box is not None:
        check_box(path, box, pixels.shape[1], pixels.shape[0])
        left, top, right, bottom = box
        pixels = np.ascontiguousarray(pixels[top:bottom, left:right])
    if isinstance(source, Record) and source.pseudo_infrared:
        return pseudo_infrared(pixels, np.random.default_rng(zlib.crc32(path.name.encode())))
    return pixels


def content_of(path: Place) -> bytes:
    """Return the bytes of an image's file or object; raises as `load_image`."""
    content = (
        _object_content(path)
        if isinstance(path, Address)
        else _file_content(path if isinstance(path, Path) else Path(path))
    )
    if not content:
        raise DataError(f"{path} is empty (0 bytes). Copy it again, or remove it from the data set.")
    return content


def _object_content(address: Address) -> bytes:
    if address.state[0] > MAX_BYTES:
        raise _too_many_bytes(address, address.state[0])
    try:
        content = object_storage.read(address.text, 0, MAX_BYTES + 1) if address.state[0] < 0 else address.read_bytes()
    except object_storage.StorageError as error:
        raise CannotBeRead(str(error)) from error
    if len(content) > MAX_BYTES:
        raise _too_many_bytes(address, len(content))
    return content


def _too_many_bytes(path: Place, size: int) -> ImageTooLarge:
    return ImageTooLarge(f"{path} has {size:,} bytes; expected at most {MAX_BYTES:,}. Is it an image?")


def _file_content(path: Path) -> bytes:
    try:
        about = path.stat()
        regular, size = stat.S_ISREG(about.st_mode), about.st_size
        content = path.read_bytes() if regular and 0 < size <= MAX_BYTES else b""
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise DataError(f"{path} not found. Check the root and the lists of the data set.") from error
        if error.errno in _NO_FILE:
            raise DataError(f"{path} is not a file: {error.strerror}. Check the lists of the data set.") from error
        raise CannotBeRead(
            f"{path} cannot be read: {error.strerror}. Fix that, and run the same command again."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{str(path)!r} is not a valid file name ({error}). Check the lists of the data set."
        ) from error
    if not regular:
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a device or a pipe"
        raise DataError(f"{path} is {kind}, expected an image file. Check the lists of the data set.")
    if size > MAX_BYTES:
        raise _too_many_bytes(path, size)
    return content


def decode(
    file: BinaryIO,
    name: str,
    *,
    at_least: tuple[int, int] | None = None,
    most: int,
    formats: tuple[str, ...] = FORMATS,
    levels: PictureLevels = None,
) -> np.ndarray:
    """Decode an open file into `(H, W, 3)` uint8 RGB.

    Grey is repeated over the channels, 16-bit values keep their upper 8 bits or are scaled by `levels`, CMYK is
    converted, transparency is composited on white (except a transparent colour with 16 bits per channel, which 8 bits
    cannot represent), the EXIF orientation is applied, and the first frame of an animation is used.

    Args:
        name: the file's name in errors.
        at_least: (height, width) that suffice for an upright JPEG.
        most: the most pixels; the size is read before anything is decoded. An image may have five times as many bytes.
        formats: Pillow's names of the allowed formats.
        levels: the values of a grey 16-bit picture that become black and white, or `picture` for its own range.

    Raises:
        ImageTooLarge: it has more than `most` pixels or their bytes, or more scans, segments, fill, chunks or strips
            than any ordinary image.
        NotAnImage: it has none of the `formats`.
        DataError: it is truncated or damaged.
    """
    _refuse_costly(file, name, most)
    try:
        with Image.open(file, formats=formats) as image:
            _refuse_large(image, name, most)
            if at_least is not None and image.format == "JPEG":
                turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
                height, width = at_least[::-1] if turned else at_least
                image.draft(None, (width, height))
            _mend_transparency(image)
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(_as_rgb(image, levels))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"{name} has more pixels than are ever decoded (DecompressionBombError).") from error
    except UnidentifiedImageError as error:
        raise NotAnImage(
            f"{name} is not an image that can be decoded. Expected one of {', '.join(formats)}."
        ) from error
    except Exception as error:  # for damaged files Pillow raises any class, such as MemoryError for a wrong length
        reason = str(error) or type(error).__name__
        raise DataError(f"{name} cannot be decoded: {reason}. It is truncated or damaged; copy it again.") from error


def _refuse_costly(file: BinaryIO, name: str, most: int) -> None:
    """Raise `ImageTooLarge` for a file that repeats the same pixels over and over, or has many empty parts.

    This comes before Pillow, which reads everything before the pixels when it opens a file.
    """
    position = file.tell()
    reason = costly(file.read(), most)
    file.seek(position)
    if reason is not None:
        raise ImageTooLarge(f"{name} {reason}.")


def _refuse_large(image: ImageFile.ImageFile, name: str, most: int) -> None:
    """Raise `ImageTooLarge` if the pixels, or their decoded bytes, exceed the limit."""
    width, height = image.size
    if width * height > most:
        raise ImageTooLarge(
            f"{name} has {width} x {height} pixels; expected at most {most:,}. Crop or shrink it first."
        )
    wide = image.format == "TIFF" and any(";16" in str(tile.args) for tile in image.tile[:1])
    each = max(4, 2 * len(image.getbands()) if wide else 0)
    if (found := width * height * each + height * _POINTER) > MAX_DEPTH * most:
        raise ImageTooLarge(
            f"{name} has {width} x {height} pixels, {found:,} bytes when decoded; expected at most {MAX_DEPTH * most:,}. Crop "
            "or shrink it first."
        )


def check_box(path: Place, box: tuple[int, int, int, int], width: int, height: int) -> None:
    """Raise `DataError` if a box is empty or lies outside a picture of this size, in pixels."""
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DataError(
            f"{path}: the box (left {left}, top {top}, right {right}, bottom {bottom}) does not lie within the picture of "
            f"{width} x {height} pixels. Check the list that it comes from."
        )


def _mend_transparency(image: ImageFile.ImageFile) -> None:
    """Convert a PNG's transparent colour to Pillow's pixel values: it scales 2- and 4-bit grey, cuts 16 bits to 8."""
    if image.format != "PNG" or "transparency" not in image.info or not image.tile:
        return
    raw = image.tile[0].args
    if raw in ("L;2", "L;4"):
        image.info["transparency"] *= 255 // (2 ** int(raw[-1]) - 1)
    elif raw == "RGB;16B":
        del image.info["transparency"]


def _as_rgb(image: Image.Image, levels: PictureLevels = None) -> Image.Image:
    if image.mode in WIDE:
        values = np.asarray(image)
        grey = as_bytes(values, levels)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise CrossreidError("floating-point pixels have no defined range; expected 8 or 16 bits per channel")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
