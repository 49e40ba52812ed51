import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from crossreid.data.synthetic import animal_images, contact_sheet, synthesise, vehicle_images, vehicles
from crossreid.data.synthetic.animals import LEFT, RIGHT, animal
from crossreid.data.synthetic.solids import FACES, Solid, Stand, facing
from crossreid.data.synthetic.vehicle_body import SHAPES, draw_vehicle
from crossreid.data.synthetic.vehicles import vehicle

SIZE = (64, 64)
KINDS = {"vehicles": (vehicle_images, vehicle), "animals": (animal_images, animal)}


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def seen_from(who, heading, size=(96, 96)):
    """A vehicle from one side, alone in the middle of a grey canvas."""
    _, seen = vehicle_images.image_of(who, 0, 1, 1, 0, size)
    canvas = Image.new("RGB", size, (120, 120, 120))
    placed = dataclasses.replace(seen, heading=heading, elevation=15, zoom=1, shift_x=0, shift_y=0)
    draw_vehicle(canvas, who.form, who.paint, placed)
    return np.asarray(canvas)


@pytest.mark.parametrize("layout", ["veri-776", "atrw"])
def test_same_seed_same_bytes_whatever_the_workers(tmp_path, layout):
    for name, seed, workers in (("a", 7, 1), ("b", 7, 2), ("c", 8, 1)):
        synthesise(tmp_path / name, layout, 5, seed, images_per_camera=1, size=(32, 32), workers=workers)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_a_function_of_its_arguments(kind):
    module, make = KINDS[kind]
    who = make(0, 1)
    for number in module.CAMERAS:
        first, seen = module.image_of(who, 0, 1, number, 0, SIZE)
        again, same = module.image_of(make(0, 1), 0, 1, number, 0, SIZE)
        assert first.shape == (64, 64, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert seen == same
        other, unlike = module.image_of(who, 0, 1, number, 1, SIZE)
        assert not np.array_equal(first, other)
        assert seen != unlike
        stranger, _ = module.image_of(make(0, 2), 0, 1, number, 0, SIZE)
        assert not np.array_equal(first, stranger)
    assert module.image_of(who, 0, 1, 1, 0, (96, 48))[0].shape == (96, 48, 3)


@pytest.mark.parametrize(("layout", "kind"), [("veri-776", "vehicles"), ("atrw", "animals")])
def test_factors_are_of_each_image(tmp_path, layout, kind):
    root = synthesise(tmp_path / "w", layout, 5, 0, images_per_camera=2, size=(32, 32), workers=1)
    rows = list(csv.DictReader((root / "factors.csv").open()))
    assert all((root / row["path"]).is_file() for row in rows)
    assert {key.split("_")[0] for key in rows[0]} == {
        "path", "identity", "camera", "modality", "shared", "visible", "nuisance",
    }  # fmt: skip
    for row in rows:
        known = KINDS[kind][1](0, int(row["identity"])).factors()
        assert all(row[key] == str(value) for key, value in known.items())
    assert len({row["nuisance_heading"] for row in rows}) > 20
    with Image.open(contact_sheet(root, tmp_path / "sheet.png", identities=2, height=50)) as sheet:
        assert sheet.width == len(KINDS[kind][0].CAMERAS) * 54 + 4


def test_every_type_and_every_side_is_drawn():
    who = vehicle(0, 1)
    for kind in SHAPES:
        one = dataclasses.replace(who, form=dataclasses.replace(who.form, type=kind))
        views = [seen_from(one, heading) for heading in (0, 45, 90, 135, 180, 270)]
        for view in views:
            share = (view != 120).any(axis=2).mean()
            assert 0.1 < share < 0.9, kind
            edge = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
            assert np.isin(edge, (120, 50)).all(), kind  # nothing but the shadow is cut off
        assert len({view.tobytes() for view in views}) == len(views)


# What is changed, and from where it is seen: headings 0 front, 180 rear, 90 right side, 270 left side.
@pytest.mark.parametrize(
    ("factor", "before", "after", "shown", "hidden"),
    [
        ("left", "plain", "stripe", 270, 90),
        ("right", "plain", "lettering", 90, 270),
        ("sticker", "none", "wide", 180, 0),
        ("rear", "plain", "spare wheel", 180, 0),
        ("papers", 0, 3, 0, 180),
        ("grille", "bars", "slit", 0, 180),
        ("lamps", "round", "slim", 0, 180),
        ("tail", "corners", "band", 180, 0),
        ("rims", "dark", "five spokes", 90, 0),
        ("damage", "none", "front", 0, 180),
    ],
)
def test_some_details_show_from_some_sides_only(factor, before, after, shown, hidden):
    who = vehicle(0, 5)
    whole = dataclasses.replace(who.form, type="suv", damage="none")
    pair = [dataclasses.replace(who, form=dataclasses.replace(whole, **{factor: value})) for value in (before, after)]
    assert not np.array_equal(*(seen_from(p, shown) for p in pair))
    assert np.array_equal(*(seen_from(p, hidden) for p in pair))


@pytest.mark.parametrize("roof", vehicles.ROOFS[1:])
def test_what_is_on_the_roof_shows_from_everywhere(roof):
    who = vehicle(0, 5)
    plain, fitted = (dataclasses.replace(who, form=dataclasses.replace(who.form, roof=r)) for r in ("plain", roof))
    for heading in (20, 110, 200, 290):
        assert not np.array_equal(seen_from(plain, heading), seen_from(fitted, heading))


def test_vehicles_differ_and_colour_is_no_name():
    fleet = [vehicle(0, identity) for identity in range(500)]
    assert len({who.form for who in fleet}) == 500
    assert {who.form.type for who in fleet} == set(vehicles.TYPES)
    assert {who.paint.colour for who in fleet} == set(vehicles.COLOURS)
    assert len({who.paint.body for who in fleet}) > 400


def test_each_flank_has_a_pattern_of_its_own():
    who = animal(0, 1)
    assert who.flanks[LEFT] != who.flanks[RIGHT]
    bare = dataclasses.replace(who, flanks={**who.flanks, LEFT: ()})
    flanks = set()
    for number in animal_images.CAMERAS:
        for index in range(4):
            pixels, seen = animal_images.image_of(who, 0, 1, number, index, SIZE)
            without, _ = animal_images.image_of(bare, 0, 1, number, index, SIZE)
            assert np.array_equal(pixels, without) == (seen.flank == RIGHT)
            assert min(abs(seen.heading - 90), abs(seen.heading - 270)) <= 45
            flanks.add(seen.flank)
    assert flanks == {LEFT, RIGHT}


def test_wild_pictures_hold_each_animal_in_its_box():
    sightings = [(animal(0, identity), identity) for identity in (1, 2)]
    pixels, boxes = animal_images.wild_image_of(sightings, 0, 2, 0, (96, 200))
    assert pixels.shape == (96, 200, 3)
    assert len(boxes) == 2
    assert boxes[0][2] <= boxes[1][0]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 200
        assert 0 <= top < bottom <= 96


def test_a_box_shows_the_faces_that_look_at_the_camera():
    cube = Solid((-1, 1), (-1, 1), 0, (2, 2), (1, 1))
    pen = ImageDraw.Draw(Image.new("RGB", (8, 8)))
    for degrees, expected in (
        (0, {"front"}),
        (90, {"right"}),
        (180, {"rear"}),
        (270, {"left"}),
        (45, {"front", "right"}),
    ):
        stand = Stand(np.radians(degrees), 0.3, 0, 0, 1, (0, 0, 1))
        assert set(facing(pen, stand, cube)) == {*expected, "top"}
    lit = facing(pen, Stand(0.5, 0.3, 0, 0, 1, (0, 0, 1)), cube)
    assert lit["top"].light == pytest.approx(1.08)
    assert lit["front"].light == pytest.approx(0.66)
    assert set(lit) < set(FACES)
