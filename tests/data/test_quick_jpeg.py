"""JPEGs by simplejpeg against Pillow, bit for bit, and which files it leaves to Pillow."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from crossreid.data import quick_jpeg
from crossreid.data.images import DataError, ImageTooLarge, decode, load_image
from crossreid.data.quick_jpeg import ordinary, quick

MOST = 64_000_000


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))


def as_jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def by_pillow(content, at_least=None):
    """The definition: opened, shrunk on load and converted by Pillow itself."""
    with Image.open(io.BytesIO(content)) as image:
        if at_least is not None:
            image.draft(None, at_least[::-1])
        return np.asarray(image.convert("RGB"))


@given(
    st.integers(1, 300), st.integers(1, 300), st.sampled_from(["RGB", "L"]), st.integers(0, 2), st.integers(20, 95),
    st.booleans(), st.none() | st.tuples(st.integers(1, 80), st.integers(1, 80)),
)  # fmt: skip
def test_pixels_are_pillows_bit_for_bit(height, width, mode, subsampling, quality, progressive, at_least):
    options = {"quality": quality, "progressive": progressive}
    if mode == "RGB":
        options["subsampling"] = subsampling
    content = as_jpeg(picture(height, width, quality).convert(mode), **options)
    found = quick(content, at_least=at_least, most=MOST)
    assert found is not None
    assert found.dtype == np.uint8
    assert np.array_equal(found, by_pillow(content, at_least))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def without(content, marker):
    """The file without its first segment of that kind."""
    at = content.index(marker)
    return content[:at] + content[at + 2 + struct.unpack_from(">H", content, at + 2)[0] :]


PLAIN = as_jpeg(picture(24, 16))
LEFT_TO_PILLOW = {
    "EXIF": as_jpeg(picture(24, 16), exif=turned(6)),
    "CMYK": as_jpeg(picture(24, 16).convert("CMYK")),
    "colours that nothing names": without(PLAIN, b"\xff\xe0"),
    "several pictures": PLAIN[:2] + b"\xff\xe2\x00\x08MPF\0ab" + PLAIN[2:],
    "XMP": PLAIN[:2] + b"\xff\xe1\x00\x10http://ns.adob" + PLAIN[2:],
    "no JPEG": b"\x89PNG" + PLAIN,
    "12 bits": PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
    "arithmetic coding": PLAIN.replace(b"\xff\xc0\x00\x11", b"\xff\xc9\x00\x11"),
    "fill between segments": PLAIN[:2] + b"\xff" * 8 + PLAIN[2:],
    "a header that ends early": PLAIN[:100],
    "nothing": b"",
}


@pytest.mark.parametrize("name", LEFT_TO_PILLOW)
def test_what_is_not_plainly_ordinary_is_left_to_pillow(name):
    assert ordinary(PLAIN) == (24, 16)
    assert ordinary(LEFT_TO_PILLOW[name]) is None
    assert quick(LEFT_TO_PILLOW[name], at_least=None, most=MOST) is None


def test_what_is_truncated_or_damaged_is_named_as_ever(tmp_path):
    content = as_jpeg(picture(200, 100), quality=90)
    for number, broken in enumerate((content[: len(content) // 2], content[:-400])):
        assert ordinary(broken) is not None
        (tmp_path / f"{number}.jpg").write_bytes(broken)
        with pytest.raises(DataError, match=f"{number}.jpg cannot be decoded: image file is truncated"):
            load_image(tmp_path / f"{number}.jpg")


def test_the_limits_hold(tmp_path, monkeypatch):
    content = as_jpeg(Image.new("L", (640, 480)), quality=10)
    assert quick(content, at_least=None, most=640 * 480 - 1) is None
    monkeypatch.setattr(quick_jpeg, "MOST", 640 * 480 - 1)
    assert quick(content, at_least=None, most=MOST) is None
    scan = content.index(b"\xff\xda")
    costly = content[:-2] + content[scan:-2] * 101 + content[-2:]
    monkeypatch.setattr(quick_jpeg, "MOST", 16_000_000)
    assert quick(costly, at_least=None, most=MOST) is None
    (tmp_path / "x.jpg").write_bytes(costly)
    with pytest.raises(ImageTooLarge, match="more than 100 scans"):
        load_image(tmp_path / "x.jpg")


def test_without_it_pillow_decodes_the_same(tmp_path, monkeypatch):
    (tmp_path / "x.jpg").write_bytes(as_jpeg(picture(300, 200)))
    with_it = load_image(tmp_path / "x.jpg", at_least=(64, 32))
    monkeypatch.setattr(quick_jpeg, "simplejpeg", None)
    assert quick(PLAIN, at_least=None, most=MOST) is None
    assert np.array_equal(load_image(tmp_path / "x.jpg", at_least=(64, 32)), with_it)


def test_strangers_files_are_pillows_alone(monkeypatch):
    """The search service decodes by `decode`, in a process of its own; so much the less there is to attack."""
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    assert np.array_equal(decode(io.BytesIO(PLAIN), "x", most=MOST), by_pillow(PLAIN))
