"""Images that are refused: too many pixels or bytes, of other types, damaged, costly to decode."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from served import picture, refusal, search, served


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    with served(
        place, tmp_path_factory.mktemp("state"), max_bytes=300_000, max_pixels=500_000, max_images=3, max_k=20
    ) as found:
        yield found


def png_that_says(width, height):
    """A PNG of a few bytes whose head claims a size: what a decoder would allocate for before it reads on."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1000, 1000), (30_000, 30_000), (60_000, 60_000), (2_000_000, 2_000_000)])
def test_decompression_bombs_are_refused_by_their_size(client, size):
    assert "pixels" in refusal(search(client, png_that_says(*size)), 413)


def test_a_bomb_of_text_in_a_png_is_refused(client):
    content = picture()
    text = zlib.compress(b"a" * 100_000_000, 9)
    data = b"comment\0\0" + text
    bomb = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    answer = search(client, content[:33] + bomb + content[33:])  # after the signature and IHDR
    assert answer.status_code in (200, 422)  # what is never inflated does no harm


@pytest.mark.parametrize(
    "content",
    [b"%PDF-1.7 ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(50), b"\0" * 100, b"MZ"],
)
def test_other_types_are_refused_by_what_they_are_not_by_their_name(client, content):
    assert "JPEG, PNG" in refusal(search(client, content, "portrait.jpg"), 415)
    assert search(client, picture("JPEG"), "portrait.exe").status_code == 200


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_and_empty_images_are_refused(client, format):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (60, 30, 3), dtype=np.uint8)).save(stream, format)
    content = stream.getvalue()
    assert search(client, content).status_code == 200
    assert "damaged" in refusal(search(client, content[: len(content) // 2]), 422)
    assert "empty" in refusal(search(client, b""), 422)


@settings(max_examples=60)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 200),
)
def test_no_damaged_image_makes_the_service_fail(running, format, changes, cut):
    content = bytearray(picture(format))
    for at, value in changes:
        content[at % len(content)] = value
    with running.client() as client:
        answer = search(client, bytes(content[: len(content) - cut]))
    assert answer.status_code in (200, 413, 415, 422), answer.text


def test_a_small_file_that_is_long_to_decode_is_refused(client):
    """Its last scan over and over: decoding each takes as long as the image is large."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    costly = content[:last] + content[last:-2] * 300 + content[-2:]
    assert len(costly) < 300_000
    Image.open(io.BytesIO(costly)).load()  # it is an image
    assert "scans" in refusal(search(client, costly, "costly.jpg"), 413)
    assert search(client, content, "honest.jpg").status_code == 200


def test_too_many_bytes_images_and_matches_are_refused(client):
    assert "300,000 bytes" in refusal(search(client, bytes(400_000)), 413)
    many = [("images", ("a.png", picture()))] * 4
    assert "1 to 3" in refusal(client.post("/v1/search/images", files=many), 422)
    assert "at most 20" in refusal(search(client, picture(), k=21), 422)
    assert "k" in refusal(search(client, picture(), k="many"), 422)
    assert "modality" in refusal(search(client, picture(), modality="x-ray"), 422)
    refusal(client.post("/v1/search/images", data={"k": 1}), 422)
