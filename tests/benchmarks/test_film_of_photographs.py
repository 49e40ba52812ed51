"""benchmarks/film.py on a few drawn pictures."""

import csv
import itertools
import json

import av
import numpy as np
import pytest
from PIL import Image

from benchmark_modules import benchmark
from weight_files import write_weights

TRAIN, TEST = [f"cow{i}" for i in range(6)], ["cow8"]


@pytest.fixture
def film(monkeypatch):
    with benchmark(monkeypatch, "film") as found:
        monkeypatch.setattr(found, "SIZE", (96, 128))
        monkeypatch.setattr(found, "PASS", 12)
        yield found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Plain pictures: an animal is one colour by day and one grey by night."""
    folder = tmp_path_factory.mktemp("images")
    rows = [("path", "identity", "modality", "split")]
    for number, cow in enumerate([*TRAIN, *TEST]):
        (folder / cow).mkdir()
        for modality in ("visible", "infrared") if number != 1 else ("visible",):
            colour = (30 + 35 * number, 20, 220 - 30 * number) if modality == "visible" else (200 - 20 * number,) * 3
            for i in range(4):
                path = f"{cow}/{modality}{i}.png"
                Image.new("RGB", (30, 40), colour).save(folder / path)
                rows.append((path, cow, modality, "train" if cow in TRAIN else "gallery"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def test_only_training_animals_of_both_modalities_are_filmed(film, images):
    assert list(film.animals(images)) == ["cow0", "cow2", "cow3", "cow4", "cow5"]


def test_each_animal_passes_each_camera_once_by_day_or_by_night(film, images):
    whom = film.animals(images)
    for camera, kinds in film.CAMERAS.items():
        found, frames = film.passes(whom, camera, 0)
        assert sorted(one.number for one in found) == [1, 2, 3, 4, 5]
        assert frames > max(one.start for one in found) + film.PASS
        for one in found:
            assert all(list(whom)[one.number - 1] == path.parent.name for path in one.pictures)
            assert len({path.name[:3] for path in one.pictures}) == 1
            assert any(path.name.startswith(kinds[0]) or path.name.startswith(kinds[1]) for path in one.pictures)
        for lane in range(film.LANES):  # no two of a lane are there at once
            starts = sorted(one.start for one in found if one.lane == lane)
            assert all(later - sooner >= film.PASS for sooner, later in itertools.pairwise(starts))


def test_the_truth_says_where_the_pictures_are(film, images, tmp_path):
    whom = film.animals(images)
    film.make_films(whom, tmp_path / "made", 0)
    assert json.loads((tmp_path / "made" / "animals.json").read_text())["2"] == "cow2"
    with av.open(str(tmp_path / "made" / "films" / "yard.mp4")) as opened:
        assert opened.streams.video[0].codec_context.name == "mpeg4"
        frames = [picture.to_ndarray(format="rgb24") for picture in opened.decode(video=0)]
    rows = [
        list(map(float, line.split(","))) for line in (tmp_path / "made" / "gt" / "yard.txt").read_text().splitlines()
    ]
    assert {row[1] for row in rows} == {1, 2, 3, 4, 5}
    inner = [row for row in rows if row[4] > 12]
    assert len(inner) > 20
    for frame, number, left, top, width, height, *_ in inner:
        image = frames[int(frame) - 1][int(top + 4) : int(top + height - 4), int(left + 4) : int(left + width - 4)]
        animal = int(list(whom)[int(number) - 1][3:])
        assert np.abs(image.reshape(-1, 3).mean(axis=0) - (30 + 35 * animal, 20, 220 - 30 * animal)).max() < 16


@pytest.mark.slow
def test_the_films_go_through_the_whole_chain(film, images, tmp_path, capsys):
    weights = tmp_path / "test_resnet.safetensors"
    write_weights(weights, "test_resnet")
    told = tmp_path / "told.json"
    film.main([str(images), str(weights), str(tmp_path / "out"), "--cows", "3", "--size", "48x32", "--json", str(told)])
    held = json.loads(told.read_text())
    assert held["animals"] == 3
    assert held["frames"].keys() == film.CAMERAS.keys()
    assert min(held["frames"].values()) > 20
    assert held["scores"]["alone"]["within"]["idf1"] > 0.5
    assert held["scores"]["cosine"]["across"]["idf1"] >= held["scores"]["alone"]["across"]["idf1"]
    assert "3 animals in 3 films" in capsys.readouterr().out
