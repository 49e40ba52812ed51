import io
import os
import re
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from crossreid.data import costly_files, images
from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.images import CannotBeRead, ImageTooLarge, NotAnImage, load_image
from crossreid.data.records import DataError, Modality, Record

COLOURS = np.zeros((24, 16, 3), dtype=np.uint8)
COLOURS[:12, :8], COLOURS[:12, 8:], COLOURS[12:, :8] = (200, 30, 40), (20, 180, 60), (10, 60, 220)


def close(pixels, expected, atol=0):
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=atol)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_rgb(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(COLOURS).save(path)
    close(load_image(path), COLOURS)


def test_grey_is_repeated(tmp_path):
    grey = np.arange(24 * 16, dtype=np.uint8).reshape(24, 16)
    Image.fromarray(grey).save(tmp_path / "x.png")
    close(load_image(tmp_path / "x.png"), np.stack([grey] * 3, axis=2))


def test_16_bits_keep_their_upper_8(tmp_path):
    """The scale is the type's: a dim image stays dim, it is not stretched to its own range."""
    values = np.linspace(0, 4000, 24 * 16).astype(np.uint16).reshape(24, 16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").mode.startswith("I")
    close(load_image(tmp_path / "x.png"), np.stack([values // 256] * 3, axis=2).astype(np.uint8))


def test_cmyk(tmp_path):
    Image.fromarray(np.full((24, 16, 3), (200, 30, 40), np.uint8)).convert("CMYK").save(tmp_path / "x.jpg", quality=100)
    assert Image.open(tmp_path / "x.jpg").mode == "CMYK"
    close(load_image(tmp_path / "x.jpg"), np.full((24, 16, 3), (200, 30, 40), np.uint8), atol=6)


def test_transparency_lies_on_white(tmp_path):
    rgba = np.dstack([COLOURS, np.full((24, 16), 255, np.uint8)])
    rgba[12:, 8:] = (0, 0, 0, 0)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    expected = COLOURS.copy()
    expected[12:, 8:] = 255
    close(load_image(tmp_path / "x.png"), expected)
    Image.fromarray(COLOURS).quantize(16).save(tmp_path / "p.png")
    close(load_image(tmp_path / "p.png"), COLOURS)


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "x.png", exif=exif)
    close(load_image(tmp_path / "x.png"), np.rot90(COLOURS, turn))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((20, 20, 3), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    close(load_image(tmp_path / "x.gif"), np.full((20, 20, 3), 10, np.uint8), atol=2)


def test_large_jpegs_are_decoded_smaller_but_large_enough(tmp_path):
    Image.new("RGB", (1024, 2048), (90, 120, 30)).save(tmp_path / "x.jpg")
    assert load_image(tmp_path / "x.jpg").shape == (2048, 1024, 3)
    smaller = load_image(tmp_path / "x.jpg", at_least=(256, 128))
    assert smaller.shape[0] < 2048
    assert smaller.shape[0] >= 256
    assert smaller.shape[1] >= 128


def test_what_cannot_be_decoded_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    Image.effect_noise((400, 400), 90).convert("RGB").save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    for name, told in {
        "empty.jpg": "0 bytes",
        "text.jpg": "not an image",
        "cut.jpg": "truncated",
        "none.jpg": "not found",
        "float.tif": "floating-point",
    }.items():
        with pytest.raises(DataError, match=told) as error:
            load_image(tmp_path / name)
        assert name in str(error.value)
    monkeypatch.setattr(images, "MAX_PIXELS", 400 * 400 - 1)
    with pytest.raises(DataError, match="400 x 400 pixels"):
        load_image(tmp_path / "whole.jpg")


def test_a_bomb_is_refused_by_its_header(tmp_path):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"bomb\.png"):
        load_image(tmp_path / "bomb.png")


def test_pseudo_infrared_records_are_the_same_each_time(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "x.png")
    record = Record(tmp_path / "x.png", "a", modality=Modality.INFRARED, pseudo_infrared=True)
    first, second = load_image(record), load_image(record)
    assert np.array_equal(first, second)
    assert (first == first[:, :, :1]).all()
    assert not np.array_equal(first, load_image(tmp_path / "x.png"))


def as_jpeg(**options):
    stream = io.BytesIO()
    Image.fromarray(COLOURS).resize((64, 96)).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def with_scans(content, times):
    """A progressive JPEG whose last scan is there so many times more."""
    start = content.rindex(b"\xff\xda")
    assert content.count(b"\xff\xda") > 3, "progressive"
    return content[:-2] + (times * content[start:-2]) + content[-2:]


def as_png(*, before=b"", after=b"", header=(16, 24, 8, 2), rows=COLOURS, transparent=b""):
    width, height, depth, kind = header
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    start = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    key = png_chunk(b"tRNS", transparent) if transparent else b""
    body = start + before + key + png_chunk(b"IDAT", zlib.compress(lines)) + after
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


NOTHING = png_chunk(b"noNe", b"")


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("scans.jpg", lambda: with_scans(as_jpeg(progressive=True), 200), "more than 100 scans"),
        ("before.png", lambda: as_png(before=60_000 * NOTHING), "more than 50,000 chunks"),
        ("after.png", lambda: as_png(after=60_000 * NOTHING), "more than 50,000 chunks"),
        (
            "segments.jpg",
            lambda: as_jpeg().replace(b"\xff\xd8", b"\xff\xd8" + 60_000 * b"\xff\xfe\0\2", 1),
            "50,000 segments",
        ),
    ],
)
def test_files_that_say_the_same_over_and_over_are_refused_before_they_are_opened(
    name, make, told, tmp_path, monkeypatch
):
    (tmp_path / name).write_bytes(make())
    with monkeypatch.context() as limits:
        limits.setattr(costly_files, "MAX_SCANS", 10**6)
        limits.setattr(costly_files, "MAX_CHUNKS", 10**6)
        assert load_image(tmp_path / name).shape[2] == 3, "but for the limits it is an image"
    monkeypatch.setattr(images.Image, "open", None)
    with pytest.raises(ImageTooLarge, match=told):
        load_image(tmp_path / name)


def test_ordinary_files_are_not_taken_for_such(tmp_path):
    """Their previews and what follows their end have scans too, and do not count; restarts and stuffed bytes are no segments."""
    many = with_scans(as_jpeg(progressive=True), 200)
    exif = b"Exif\0\0" + b"\0" * 8 + many[: 60_000 - 64]
    assert exif.count(b"\xff\xda") > 100
    plain = as_jpeg()
    preview = plain[:2] + b"\xff\xe2" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    noise = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(noise, "JPEG", quality=98, progressive=True)
    files = {
        "plain.jpg": plain, "progressive.jpg": as_jpeg(progressive=True), "preview.jpg": preview, "trailing.jpg": plain + many,
        "restarts.jpg": as_jpeg(restart_marker_blocks=1), "filled.jpg": plain[:2] + b"\xff" * 500 + plain[2:],
        "noise.jpg": noise.getvalue(), "ordinary.png": as_png(before=30 * NOTHING),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        shape = (200, 200, 3) if name == "noise.jpg" else (24, 16, 3) if name.endswith("png") else (96, 64, 3)
        assert load_image(tmp_path / name).shape == shape, name
        with Image.open(io.BytesIO(content)) as image:
            close(load_image(tmp_path / name), np.asarray(image.convert("RGB")))
    several = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[::-1].copy())]
    several[0].save(tmp_path / "x.mpo", "MPO", save_all=True, append_images=several[1:], quality=95)
    assert Image.open(tmp_path / "x.mpo").format == "MPO"
    assert np.abs(load_image(tmp_path / "x.mpo").astype(int) - COLOURS).mean() < 10, "the first of both"


def test_one_transparent_colour_lies_on_white_too(tmp_path):
    grey = np.array([[5, 9]], np.uint8)
    wide = np.array([[5 * 256 + 1, 5 * 256]], ">u2")
    cases = {
        "rgb.png": (as_png(transparent=struct.pack(">HHH", 200, 30, 40)), np.where(
            (COLOURS == (200, 30, 40)).all(2, keepdims=True), 255, COLOURS).astype(np.uint8)),
        "grey.png": (as_png(header=(2, 1, 8, 0), rows=grey, transparent=struct.pack(">H", 5)), [[255, 9]]),
        "wide.png": (as_png(header=(2, 1, 16, 0), rows=wide, transparent=struct.pack(">H", 5 * 256 + 1)), [[255, 5]]),
        "four bits.png": (as_png(header=(2, 1, 4, 0), rows=np.array([[0x5A]], np.uint8), transparent=struct.pack(">H", 5)),
                          [[255, 170]]),
    }  # fmt: skip
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_bytes(content)
        expected = np.asarray(expected, np.uint8)
        close(load_image(tmp_path / name), expected if expected.ndim == 3 else np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize(("orientation", "stored"), [(1, (2048, 256)), (6, (256, 2048)), (8, (256, 2048))])
def test_a_smaller_jpeg_suffices_in_the_way_it_stands(tmp_path, orientation, stored):
    """A landscape of 256 x 2048 that is to fill 256 x 128 may not be halved, lying on its side or not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", stored).save(tmp_path / "x.jpg", exif=exif)
    assert load_image(tmp_path / "x.jpg", at_least=(256, 128)).shape == (256, 2048, 3)
    assert load_image(tmp_path / "x.jpg", at_least=(128, 64)).shape == (128, 1024, 3)


def test_names_that_lead_to_no_image_are_named(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "file.jpg").write_bytes(as_jpeg())
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, told in {
        "folder.jpg": "is a folder, expected an image file", "circle.jpg": "symbolic links", "pipe.jpg": "a device or a pipe",
        "n" * 300 + ".jpg": "File name too long", "file.jpg/x.jpg": "not found", "a\0b.jpg": "null byte", "\ud800.jpg": "surrogates",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=told) as error:
            load_image(tmp_path / name)
        assert str(tmp_path) in str(error.value)
        (batch,) = planned_batches([Record(tmp_path / name, "")], [[0]], height=8, width=8, workers=1, skip=True)
        assert [place for place, _ in batch.bad] == [0], "and left out where that is asked for"


@pytest.mark.parametrize(
    "kind", [RuntimeError, NotImplementedError, MemoryError, OverflowError, struct.error, IndexError]
)
def test_whatever_a_decoder_raises_is_said_of_the_file(kind, tmp_path, monkeypatch):
    (tmp_path / "x.jpg").write_bytes(as_jpeg())

    def stumble(*arguments, **options):
        raise kind

    monkeypatch.setattr(ImageFile.ImageFile, "load", stumble)
    monkeypatch.setattr("simplejpeg.decode_jpeg", stumble)
    with pytest.raises(DataError, match=rf"x\.jpg cannot be decoded: {kind.__name__}"):
        load_image(tmp_path / "x.jpg")


def test_only_formats_that_need_no_other_program_are_read(tmp_path):
    """A PostScript file is one that Pillow would hand to Ghostscript."""
    Image.fromarray(COLOURS).save(tmp_path / "x.eps", "EPS")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    assert Image.open(tmp_path / "x.jpg").format == "EPS"
    with pytest.raises(
        NotAnImage, match=r"x\.jpg is not an image .*Expected one of JPEG, PNG, BMP, WEBP, TIFF, GIF, PPM\."
    ):
        load_image(tmp_path / "x.jpg")
    for suffix, name in {".webp": "WEBP", ".ppm": "PPM", ".gif": "GIF"}.items():
        Image.fromarray(COLOURS).save(tmp_path / f"x{suffix}", name)
        assert load_image(tmp_path / f"x{suffix}").shape == (24, 16, 3)


def told_by_a_child(function):
    """What a process of its own raises, as text: its limits and its rights are not ours."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    told = os.read(reading, 65_536).decode()  # not to its end, which loaders of the child keep open for a while
    os.close(reading)
    return told


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_system_does_not_give_out_is_not_an_image_that_is_left_out(workers, tmp_path):
    """Too many open files; and somebody without rights. The words are the system's, from a loader's process too."""
    (tmp_path / "x.jpg").write_bytes(as_jpeg())
    load_image(tmp_path / "x.jpg")

    def too_many():
        if workers == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
            load_image(tmp_path / "x.jpg")

    def without_rights():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        list(planned_batches([Record(tmp_path / "x.jpg", "")], [[0]], height=8, width=8, workers=workers, skip=True))

    if workers == 0:
        assert "CannotBeRead: " in told_by_a_child(too_many)
        assert re.search(r"x\.jpg cannot be read: Too many open files", told_by_a_child(too_many))
    if os.getuid() != 0:
        pytest.skip("only root can give its rights away")
    tmp_path.chmod(0o700)
    told = told_by_a_child(without_rights)
    assert told == (
        f"CannotBeRead: {tmp_path / 'x.jpg'} cannot be read: Permission denied. Fix that, and run the same command again."
    )
    with pytest.raises(CannotBeRead, match=r"^of a loader's$"):
        raise CannotBeRead(
            "Caught CannotBeRead in DataLoader worker process 0.\nTraceback\nimages.CannotBeRead: of a loader's\n"
        )
