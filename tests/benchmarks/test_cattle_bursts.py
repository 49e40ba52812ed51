"""benchmarks/cattle_bursts.py on a few drawn pictures: films in MARS' layout, and a teacher and its student from them."""

import csv
import json

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from benchmark_modules import benchmark
from crossreid.data.readers.mars import parse
from forked import fork_runs

COWS = [f"cow{i}" for i in range(6)]


@pytest.fixture
def bursts(monkeypatch):
    with benchmark(monkeypatch, "cattle_bursts") as found:
        monkeypatch.setattr(found, "STEPS_AN_EPOCH", 2)
        yield found


@pytest.fixture
def images(tmp_path):
    """Each cow 13 times by day and once by night; one more that must not be looked at."""
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    rows = [("path", "identity", "modality", "split")]
    for cow in [*COWS, "asked"]:
        (folder / cow).mkdir(parents=True)
        for place in range(14):
            path = f"{cow}/{place:03d}.jpg"
            Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / path)
            split = "train" if cow in COWS else "query"
            rows.append((path, cow, "visible" if place < 13 else "infrared", split))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def test_films_are_day_pictures_in_order_six_at_a_time(bursts, images, tmp_path):
    asked = bursts.write_films(images, tmp_path / "films", (32, 16))
    assert asked == ["cow1", "cow4"]
    split = parse(tmp_path / "films")
    assert len({record.identity for record in split.train}) == 4
    films = {}
    for record in split.train:
        films.setdefault((record.identity, record.camera, record.tracklet), []).append(record)
    assert sorted(len(frames) for frames in films.values()) == [1] * 4 + [6] * 8
    assert len(split.train) == 4 * 13
    assert {record.identity for record in split.gallery} == {record.identity for record in split.query}


def test_a_teacher_and_its_student_are_trained_and_scored(bursts, images, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    weights, kept = tmp_path / "test_resnet.safetensors", tmp_path / "kept.json"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    sampler = ["--set", "data.sampler.identities=2", "--set", "teacher.data.sampler.identities=2"]
    given = [str(images), str(weights), str(tmp_path / "out"), "--seeds", "0", "--steps", "2", "--size", "32x16"]
    bursts.main([*given, *sampler, "--only", "teacher", "student", "--json", str(kept)])
    told = json.loads(kept.read_text(encoding="utf-8"))
    *trained, untouched = told["table"]["rows"]
    assert [row["key"] for row in trained] == ["teacher", "student"]
    assert untouched["title"] == "test_resnet"
    assert told["held_out"] == ["cow1", "cow4"]
