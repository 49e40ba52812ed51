"""The filmed city: films, truth, topology, light, and images to learn from agree with one another."""

import csv
import itertools
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.catalogue import load
from crossreid.data.records import DataError, Modality
from crossreid.data.synthetic import synthesise_city
from crossreid.data.synthetic.city.films import write_film
from crossreid.data.synthetic.city.places import CAMERAS
from crossreid.data.synthetic.city.reach import reaches
from crossreid.data.synthetic.city.sprites import PHASES, STANDING, Pose, sprite
from crossreid.data.synthetic.city.stage import Daylight, Shown, frame, in_view
from crossreid.data.synthetic.city.truth import detection_rows, truth_rows
from crossreid.data.synthetic.city.walking import STEPS, Visit, visits_of
from crossreid.watching.identities.topology import read_topology

SIZE = (64, 96)
HALL, STREET = CAMERAS[0], CAMERAS[4]
DAY, NIGHT = Daylight(1e9, 1), Daylight(-1e9, 1)
SMALL = {"minutes": 0.1, "others": 6, "images": 1, "size": SIZE, "rate": 5, "workers": 1}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return synthesise_city(tmp_path_factory.mktemp("world") / "city", 6, 1, **SMALL)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def film(path):
    with av.open(str(path)) as opened:
        return [picture.to_ndarray(format="rgb24") for picture in opened.decode(video=0)]


def numbers(path):
    return [[float(cell) for cell in line.split(",")] for line in path.read_text().splitlines()]


def straight(identity, first, last, *, start=0.0, site="hall"):
    """A way of ten metres or so at a metre a second."""
    places = np.linspace(first, last, STEPS)
    lengths = np.linspace(0, np.hypot(*np.subtract(last, first)), STEPS)
    return Visit(identity, site, start, 1.0, 1e9, 0.0, places, lengths)


def empty(camera, light, size=SIZE):
    return frame(camera, [], 0.0, light, 0, size, np.random.default_rng(0))[0]


def test_the_same_arguments_give_the_same_bytes_whatever_the_workers(city, tmp_path):
    again = synthesise_city(tmp_path / "again", 6, 1, **{**SMALL, "workers": 2})
    assert contents(again) == contents(city)
    assert visits_of(1, 1, 60)[0].start != visits_of(2, 1, 60)[0].start


def test_films_have_the_frames_and_cameras_that_the_plan_says(city):
    plan = json.loads((city / "city.json").read_text())
    listed = yaml.safe_load((city / "cameras.yaml").read_text())["cameras"]
    assert [each["name"] for each in listed] == [camera.name for camera in CAMERAS] == list(plan["cameras"])
    assert {each["modality"] for each in listed} == {"visible", "infrared", "auto"}
    for each in listed:
        images = film(city / each["source"])
        assert len(images) == plan["frames"] == 30
        assert images[0].shape == (*SIZE, 3)
        for folder in ("gt", "det"):
            rows = numbers(city / folder / f"{each['name']}.txt")
            assert all(1 <= row[0] <= plan["frames"] for row in rows)
            assert all(row[2] >= 0 and row[3] >= 0 and row[4] > 0 and row[5] > 0 for row in rows)
            assert all(row[2] + row[4] <= SIZE[1] + 0.1 and row[3] + row[5] <= SIZE[0] + 0.1 for row in rows)
    assert sum(len(numbers(city / "gt" / f"{camera.name}.txt")) for camera in CAMERAS) > 20


def test_outdoor_cameras_turn_to_infrared_at_dusk_in_the_film(city):
    def chroma(images):
        return float(np.mean([np.ptp(image.astype(int), axis=2).mean() for image in images]))

    for camera in CAMERAS:
        images = film(city / "films" / f"{camera.name}.mp4")
        day, night = chroma(images[:15]), chroma(images[15:])
        assert (day > 4) == (camera.by_day == Modality.VISIBLE), camera.name
        assert (night > 4) == (camera.by_night == Modality.VISIBLE), camera.name


def test_a_box_holds_what_differs_from_the_empty_scene():
    for light in (DAY, NIGHT):
        behind, tight = empty(STREET, light, (180, 320)).astype(int), []
        for who in range(1, 5):
            visits = [straight(who, (-5, 1), (5, 3), site="street")]
            image, shown = frame(STREET, visits, 5.0, light, 0, (180, 320), np.random.default_rng(0))
            left, top, right, bottom = shown[0].box
            different = np.abs(image - behind).max(axis=2) > 25
            inside = different[top:bottom, left:right]
            assert inside.mean() > 0.25
            tight.append([inside[:3].any(), inside[-3:].any(), inside[:, :3].any(), inside[:, -3:].any()])
            different[top : bottom + 8, left - 12 : right + 12] = False  # and the shadow
            assert different.mean() < 0.002
        # Dark hair before a dark wall is not seen, but most of the outermost rows and columns are.
        assert np.mean(tight) > 0.8


def test_visibility_is_the_share_of_a_body_that_neither_people_nor_the_frame_hide():
    near, far = straight(1, (-5, 0.2), (5, 0.2)), straight(2, (-5, 2.6), (5, 2.6))

    def seen(visits, time):
        shown = frame(HALL, visits, time, DAY, 0, (180, 320), np.random.default_rng(0))[1]
        return {one.identity: one.visibility for one in shown}

    assert seen([near, far], 5.0)[1] == 1
    assert seen([far], 5.0)[2] == 1
    assert seen([near, far], 5.0)[2] < 0.5
    assert seen([near, far], 5.0) == seen([far, near], 5.0)
    assert seen([straight(4, (-3.05, 0.2), (5, 0.2))], 0.05)[4] < 0.8  # partly outside
    assert 5 not in seen([straight(5, (-9, 0.2), (9, 0.2))], 0.5)  # not yet in view
    assert seen([near], 10.5) == {}  # gone


def test_who_is_nearer_is_taller_and_the_two_cameras_of_the_hall_see_the_same_people():
    def tall(camera, place):
        visits = [straight(1, place, (place[0] + 0.5, place[1]))]
        (one,) = frame(camera, visits, 0.1, DAY, 0, (180, 320), np.random.default_rng(0))[1]
        return one.box[3] - one.box[1]

    assert tall(HALL, (0, 0.5)) > 1.5 * tall(HALL, (0, 4.5))
    assert tall(CAMERAS[1], (0, 0.5)) < tall(CAMERAS[1], (2, 4.0))  # it hangs on the other side
    both = [
        time
        for visit in itertools.chain.from_iterable(visits_of(0, who, 300) for who in range(1, 9))
        for time in np.arange(visit.start, visit.end, 0.5)
        if visit.site == "hall" and all(in_view(camera, visit, time, (180, 320)) for camera in CAMERAS[:2])
    ]
    assert len(both) > 10


def test_walks_keep_to_the_topology():
    """Whoever is seen by two cameras one after the other took at least, and at most, what the plan of the city says."""
    limits = {frozenset((reach.one, reach.other)): reach for reach in reaches()}
    assert sum(reach.overlap for reach in limits.values()) == 1
    assert len(limits) == 15
    ways = 0
    for who in range(1, 60):
        visits = visits_of(3, who, 400)
        assert all(one.end < other.start for one, other in itertools.pairwise(visits))
        sightings = []
        for visit in visits:
            for camera in CAMERAS:
                if camera.site == visit.site:
                    times = [t for t in np.arange(visit.start, visit.end, 0.25) if in_view(camera, visit, t, SIZE)]
                    sightings += [(times[0], times[-1], camera.name)] if times else []
        sightings.sort()
        for (_, left, one), (entered, _, other) in itertools.pairwise(sightings):
            if one != other and not limits[frozenset((one, other))].overlap:
                reach = limits[frozenset((one, other))]
                assert reach.least <= entered - left + 0.25, (one, other)
                assert reach.most is None or entered - left <= reach.most, (one, other)
                ways += 1
    assert ways > 300


def test_the_topology_is_one_that_a_watcher_reads(city):
    told = yaml.safe_load((city / "topology.yaml").read_text())
    links = {frozenset(link["between"]): link for link in told["links"]}
    assert links[frozenset(("hall-south", "hall-east"))] == {"between": ["hall-south", "hall-east"], "overlap": True}
    least, most = links[frozenset(("passage", "square"))]["seconds"]
    assert 5 < least < 14
    assert most > least
    assert len(read_topology(city / "topology.yaml").links) == 15


def test_detections_are_truth_that_is_off_and_lacks_some_and_invents_some():
    draw = np.random.default_rng(0)
    person = Shown(1, (100, 50, 140, 150), 1.0)
    half = Shown(2, (200, 50, 240, 150), 0.4)
    rows = [
        [[float(cell) for cell in row.split(",")] for row in detection_rows(number, [person, half], (180, 320), draw)]
        for number in range(1, 1001)
    ]
    near = [row for each in rows for row in each if abs(row[2] - 100) < 8 and abs(row[3] - 50) < 20]
    hidden = [row for each in rows for row in each if abs(row[2] - 200) < 8 and abs(row[3] - 50) < 20]
    assert 940 < len(near) < 990
    assert 650 < len(hidden) < 850
    assert 5 < sum(map(len, rows)) - len(near) - len(hidden) < 60
    lefts = np.array([row[2] for row in near])
    assert abs(lefts.mean() - 100) < 0.3
    assert 0.8 < lefts.std() < 1.6
    assert np.mean([row[6] for row in near]) > np.mean([row[6] for row in hidden]) + 0.2
    assert {row[1] for each in rows for row in each} == {-1}


def test_the_truth_leaves_out_who_is_hardly_seen():
    shown = [Shown(7, (1, 2, 11, 22), 0.5), Shown(8, (1, 2, 11, 22), 0.2)]
    assert truth_rows(3, shown) == ["3,7,1.0,2.0,10.0,20.0,1,1,0.500"]


def test_people_to_train_on_are_others_and_some_walkers_are_enrolled(city):
    people = rows_of(city / "people.csv")
    assert [row["number"] for row in people] == [str(number) for number in range(1, 7)]
    known = {row["name"] for row in people if row["enrolled"] == "yes"}
    assert 0 < len(known) < len(people)
    enrolled = rows_of(city / "enrolment" / "manifest.csv")
    assert {row["identity"] for row in enrolled} == known
    assert {row["modality"] for row in enrolled} == {"visible"}
    trained = rows_of(city / "training" / "manifest.csv")
    assert not {row["identity"] for row in trained} & {row["name"] for row in people}
    assert len({row["identity"] for row in trained}) == SMALL["others"]
    assert {row["modality"] for row in trained} == {"visible", "infrared"}
    assert {row["split"] for row in trained} == {"train", "val", "query", "gallery"}
    for folder, rows in (("enrolment", enrolled), ("training", trained)):
        for row in rows[:20]:
            pixels = np.asarray(Image.open(city / folder / row["path"])).astype(int)
            assert (np.ptp(pixels, axis=2).mean() < 4) == (row["modality"] == "infrared")
            assert pixels.shape[0] > pixels.shape[1]
    split = load("manifest", city / "training")
    assert len({record.identity for record in split.train}) == 3
    assert {record.modality for record in split.query} == {Modality.INFRARED}


def test_a_drawing_is_cut_out_and_grey_in_infrared_light():
    day, night = (np.asarray(sprite(0, 4, infrared, Pose(6, 2))) for infrared in (False, True))
    assert np.array_equal(day[..., 3], night[..., 3])
    assert 0.1 < (day[..., 3] > 127).mean() < 0.6
    body = night[night[..., 3] == 255]
    assert (body[:, :3] == body[:, :1]).all()
    assert not (day[day[..., 3] == 255][:, :3] == day[day[..., 3] == 255][:, :1]).all()
    steps = {np.asarray(sprite(0, 4, True, Pose(6, phase))).tobytes() for phase in (STANDING, *range(PHASES))}
    assert len(steps) == 1 + 5  # of eight phases of a swing to and fro three look like another


def test_a_film_is_what_was_written_into_it(tmp_path):
    ramp = np.linspace(20, 230, 96).astype(np.uint8)
    images = [np.broadcast_to(np.roll(ramp, 4 * shift)[None, :, None], (64, 96, 3)).copy() for shift in range(6)]
    assert write_film(tmp_path / "a.mp4", iter(images), Fraction(25, 2)) == 6
    with av.open(str(tmp_path / "a.mp4")) as opened:
        pictures = list(opened.decode(video=0))
        assert opened.streams.video[0].average_rate == Fraction(25, 2)
    assert [round(picture.time * 12.5) for picture in pictures] == list(range(6))
    for written, picture in zip(images, pictures, strict=True):
        assert np.abs(picture.to_ndarray(format="rgb24").astype(int) - written).mean() < 4
    with pytest.raises(DataError, match="at least one frame"):
        write_film(tmp_path / "b.mp4", iter([]), Fraction(25, 2))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"people": 1}, "expected 2 to 1000"),
        ({"others": 3}, "4 or more"),
        ({"size": (64, 97)}, "even height and width"),
        ({"size": (32, 96)}, "at least 48 pixels"),
        ({"rate": 0}, "frames per second"),
        ({"minutes": 0.01}, "2 seconds to a day"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, changed, said):
    with pytest.raises(DataError, match=said):
        synthesise_city(tmp_path / "city", **{"people": 6, **SMALL, **changed})
    assert not (tmp_path / "city").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layout", "mars", "--minutes", "2"], "apply to --layout city, not to mars"),
        (["--layout", "city", "--sheet", "sheet.png"], "--sheet works for layouts of images"),
        (["--layout", "city", "--size", "9x9"], "expected HEIGHTxWIDTH"),
    ],
)
def test_the_command_refuses_what_does_not_go_together(tmp_path, arguments, said):
    result = CliRunner().invoke(app, ["synth", str(tmp_path / "city"), *arguments])
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_folder_that_holds_something_stays_as_it_is(city):
    before = contents(city)
    with pytest.raises(DataError, match="exists and is not empty"):
        synthesise_city(city, 6, 1, **SMALL)
    assert contents(city) == before
