"""`crossreid views` on runs of a small world: its numbers, its files, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crossreid.analysis.asked_images import asked_records
from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.sets import SetSetting, set_features
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_run
from crossreid.runs.scoring import reading, score_features
from crossreid.runs.train import train

METHOD = {"name": "view_distillation", "backbone": {"name": "test_resnet", "weights": "none", "last_activation": False}}


def recipe_for(world, seed, name="mars", method=METHOD, balance="none"):
    data = {"name": name, "root": str(world), "height": 32, "width": 16, "workers": 0,
            "sampler": {"identities": 2, "images": 4, "balance": balance}}  # fmt: skip
    return make_recipe({"data": data, "method": method, "training": {"epochs": 1, "seed": seed}})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of stages, whose student is there by itself a second time, with another seed."""
    place = tmp_path_factory.mktemp("views")
    synthesise(place / "world", "mars", 24, 0, images_per_camera=3, size=(32, 16), workers=1)
    for seed, stage in enumerate(("teacher", "student")):
        train(recipe_for(place / "world", seed), place / "vkd" / stage)
    for seed in (0, 1):
        (place / "seeds").mkdir(exist_ok=True)
        (place / "seeds" / f"seed-{seed}").symlink_to(place / "vkd" / ("teacher", "student")[seed])
    return place


def invoked(*arguments):
    done = CliRunner().invoke(app, ["views", *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def written(out, name, output):
    assert {path.name for path in out.iterdir()} == {f"{name}{suffix}" for suffix in (".json", ".svg", ".png")}
    assert (out / f"{name}.png").stat().st_size > 10_000
    for suffix in (".json", ".svg", ".png"):
        assert f"{out / name}{suffix}" in output
    return json.loads((out / f"{name}.json").read_text())


def test_accuracy_is_that_of_the_protocol_with_so_many_images(place, tmp_path):
    output = invoked("images", place / "vkd", "--counts", "1,3,all", "--out", tmp_path, "--title", "student=few views")
    table = written(tmp_path, "images", output)
    assert "few views" in output
    assert table["counts"] == [1, 3, 0]
    assert {row["name"] for row in table["rows"]} == {"teacher", "few views"}
    assert {(row["name"], row["seed"]) for row in table["rows"]} == {("teacher", 0), ("few views", 1)}
    run = open_run(place / "vkd" / "teacher")
    query, gallery = list(run.split.query), list(run.split.gallery)
    for side, images, setting in (("gallery", 3, SetSetting(1, 3)), ("query", 0, SetSetting(0, None))):
        (features,) = set_features(
            run.method, query, gallery, [setting], frames=8, first_frame=True, **reading(run.recipe)
        ).values()
        (expected,) = score_features(features, run.split, run.recipe)
        (row,) = [r for r in table["rows"] if (r["name"], r["side"], r["images"]) == ("teacher", side, images)]
        assert (row["rank-1"], row["mAP"]) == (expected.rank(1), expected.mAP)


def test_cameras_are_read_off_every_seed_and_off_an_untrained_network(place, tmp_path):
    arguments = ("--divisions", "2", "--images", "2", "--untrained", "--out", tmp_path)
    table = written(tmp_path, "cameras", invoked("cameras", place / "seeds", *arguments))
    assert [(row["name"], row["seed"]) for row in table["rows"]] == [
        ("seeds", 0), ("seeds", 1), ("untrained", 0), ("untrained", 1)
    ]  # fmt: skip
    for row in table["rows"]:
        assert row["modality"] == "visible"
        assert [one["division"] for one in row["readings"]] == [0, 1]
        assert all(0 <= one[key] <= 1 for one in row["readings"] for key in ("accuracy", "prior"))


def test_distances_are_those_of_single_images(place, tmp_path):
    arguments = ("--images", "1", "--metric", "euclidean", "--out", tmp_path)
    table = written(tmp_path, "distances", invoked("distances", place / "vkd", *arguments))
    assert (table["metric"], table["place"]) == ("euclidean", "camera")
    records = asked_records(open_run(place / "vkd" / "teacher").split, 1)
    assert len({record.tracklet for record in records}) == len(records)
    counted = {"same": 0, "across": 0, "different": 0}
    for i, one in enumerate(records):
        for other in records[i + 1 :]:
            kind = "same" if one.camera == other.camera else "across"
            counted[kind if one.identity == other.identity else "different"] += 1
    assert {kind: values["pairs"] for kind, values in table["rows"][0]["kinds"].items()} == counted


def test_attention_is_of_the_same_images_for_every_run(place, tmp_path):
    output = invoked("attention", place / "vkd", "--count", "3", "--seed", "2", "--out", tmp_path)
    table = written(tmp_path, "attention", output)
    images = {name: [row["image"] for row in table["rows"] if row["name"] == name] for name in ("teacher", "student")}
    assert images["teacher"] == images["student"]
    assert len({row["identity"] for row in table["rows"]}) == 3
    for row in table["rows"]:
        assert Path(row["image"]).is_file()
        assert [np.array(one["heat"]).shape for one in row["maps"]] == [(2, 1)]
        assert -1 <= row["similarity"] <= 1
        assert row["maps"][0]["encoder"] == "network.encoder.backbone"
        assert row["maps"][0]["kind"] == "grad-cam"
    asked = invoked("attention", place / "vkd", "--count", "1", "--maps", "rollout", "--out", tmp_path / "asked")
    assert "student: no rollout, because its blocks do not attend to the whole image; Grad-CAM" in asked


def test_what_cannot_be_looked_at_is_refused_by_name(place, tmp_path):
    def refused(*arguments):
        result = CliRunner().invoke(app, ["views", *map(str, arguments), "--out", str(tmp_path / "out")])
        assert result.exit_code != 0
        assert isinstance(result.exception, ValueError)
        return str(result.exception)

    synthesise(tmp_path / "pictures", "sysu-mm01", 8, 0, images_per_camera=1, size=(32, 16), workers=1)
    plain = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    train(recipe_for(tmp_path / "pictures", 0, "sysu-mm01", plain, "modality"), tmp_path / "plain")
    assert "sysu-mm01: the number of images cannot be varied" in refused("images", tmp_path / "plain")
    assert "plain is on another data set" in refused("distances", place / "vkd", tmp_path / "plain")
    assert "expected comma-separated numbers of images, or `all`" in refused(
        "images", place / "vkd", "--counts", "1,many"
    )
    assert "expected NAME=TEXT" in refused("cameras", place / "vkd", "--title", "teacher")
    assert "maps 'all': expected grad-cam, rollout or both" in refused("attention", place / "vkd", "--maps", "all")
    assert "unknown metric" in refused("distances", place / "vkd", "--metric", "angle")
