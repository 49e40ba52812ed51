"""The contact sheet of a data set: which images it shows, where, and as they are read."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.picture_rows import BLUE, GAP, LINE, TILE, TILES
from crossreid.data.records import INFRARED, VISIBLE, DataError, Record, Split
from crossreid.data.split_sheet import write_split_sheet

COLOUR = (200, 60, 20)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of one colour; of one the right half is green."""
    place = tmp_path_factory.mktemp("pictures")
    Image.new("RGB", (20, 40), COLOUR).save(place / "plain.png")
    half = Image.new("RGB", (40, 40), COLOUR)
    half.paste((20, 200, 20), (20, 0, 40, 40))
    half.save(place / "half.png")
    half.rotate(90).save(place / "other.png")
    (place / "damaged.jpg").write_bytes(b"\xff\xd8\xff no more")
    return place


def split_of(place, train=(), query=(), gallery=()):
    return Split("manifest", place, "cross-modal", train=tuple(train), query=tuple(query), gallery=tuple(gallery))


def tiles_of(path):
    """The pixels of every tile, frames included, by row and column."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    height = LINE + TILE + 3 * GAP
    rows = (len(pixels) - GAP) // height
    assert pixels.shape == (rows * height + GAP, TILES * (TILE + GAP) + GAP, 3)
    return [
        [
            pixels[GAP + r * height + LINE :, GAP + t * (TILE + GAP) :][:TILE, :TILE]
            for t in range(TILES)
        ]
        for r in range(rows)
    ]  # fmt: skip


def centre(tile):
    return tuple(tile[TILE // 2, TILE // 2])


def test_infrared_is_at_the_left_and_grey_and_queries_are_framed(place, tmp_path):
    picture = place / "plain.png"
    query = [Record(picture, "7", camera=3, modality=INFRARED)]
    gallery = [Record(picture, "7", camera=camera) for camera in (1, 2)]
    (row,) = tiles_of(write_split_sheet(split_of(place, query=query, gallery=gallery), tmp_path / "sheet.png"))
    assert len(set(centre(row[0]))) == 1
    assert [centre(tile) for tile in row[1:3]] == [COLOUR, COLOUR]
    assert (row[3] == 255).all()
    framed = [bool((tile == BLUE).all(axis=-1).any()) for tile in row]
    assert framed == [True] + [False] * 9


def test_identities_and_images_are_from_all_over_a_part(place, tmp_path):
    for number in range(30):
        Image.new("RGB", (8, 8), (8 * number, 0, 0)).save(tmp_path / f"{number}.png")
    train = [Record(tmp_path / f"{number}.png", f"{number // 10}") for number in range(30)]
    rows = tiles_of(write_split_sheet(split_of(place, train=train), tmp_path / "sheet.png", identities=2))
    assert [[centre(tile)[0] // 8 for tile in row] for row in rows] == [list(range(10)), list(range(20, 30))]
    fewer = [record for record in train if record.identity == "1"] * 3
    (row,) = tiles_of(write_split_sheet(split_of(place, train=fewer), tmp_path / "sheet.png"))
    shown = [centre(tile)[0] // 8 for tile in row]
    assert (shown[0], shown[-1]) == (10, 19)


@pytest.mark.parametrize(
    ("infrared", "visible", "at_left"), [(20, 20, 5), (3, 20, 3), (20, 2, 8), (4, 0, 4), (0, 4, 0)]
)
def test_the_modalities_share_a_row(place, tmp_path, infrared, visible, at_left):
    kinds = [INFRARED] * infrared + [VISIBLE] * visible
    train = [Record(place / "plain.png", "1", camera=n + 1, modality=kind) for n, kind in enumerate(kinds)]
    (row,) = tiles_of(write_split_sheet(split_of(place, train=train), tmp_path / "sheet.png"))
    colours = [centre(tile) for tile in row]
    drawn = [colour for colour in colours if colour != (255, 255, 255)]
    assert len(drawn) == min(10, infrared + visible)
    assert [colour == COLOUR for colour in drawn] == [n >= at_left for n in range(len(drawn))]


def test_boxes_are_cut_out_and_what_cannot_be_read_says_so(place, tmp_path):
    train = [Record(place / "half.png", "1", box=(20, 0, 40, 40)), Record(place / "damaged.jpg", "1")]
    (row,) = tiles_of(write_split_sheet(split_of(place, train=train), tmp_path / "sheet.png"))
    inside = row[0][TILE // 2, TILE // 2 - 20 : TILE // 2 + 20]
    assert (inside == (20, 200, 20)).all()
    assert tuple(row[1][5, 5]) == (230, 230, 230)
    assert (row[1] != 230).any()  # words


def test_another_kind_of_name_is_refused_before_anything_is_read(place, tmp_path):
    with pytest.raises(DataError, match=r"sheet.txt: expected a name ending in .png or .jpg"):
        write_split_sheet(split_of(place, train=[Record(place / "nothing.png", "1")]), tmp_path / "sheet.txt")
    result = CliRunner().invoke(app, ["check", "manifest", str(place), "--sheet", str(tmp_path / "sheet.txt")])
    assert result.exit_code != 0
    assert "no manifest" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_it_also_where_pictures_are_damaged(place, tmp_path):
    rows = [f"{place / name},{identity},visible,{split}" for name, identity, split in (
        ("plain.png", "a", "train"), ("damaged.jpg", "a", "train"), ("half.png", "b", "test"), ("other.png", "b", "test")
    )]  # fmt: skip
    (tmp_path / "manifest.csv").write_text("\n".join(["path,identity,modality,split", *rows]) + "\n")
    asked = ["check", "manifest", str(tmp_path), "--sheet", str(tmp_path / "new" / "sheet.jpg")]
    result = CliRunner().invoke(app, asked)
    assert f"contact sheet: {tmp_path / 'new' / 'sheet.jpg'}" in result.output
    assert len(tiles_of(tmp_path / "new" / "sheet.jpg")) == 2
