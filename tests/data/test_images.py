import numpy as np
import pytest
from PIL import Image

from crossreid.data import images
from crossreid.data.images import load_image
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
        "text.jpg": "no image",
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
