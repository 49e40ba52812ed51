"""A run tested on other data than its own, or otherwise: right scores, and its own left as they are."""

import json
import shutil

import numpy as np
import pytest

from compared_runs import copied, made
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import load
from crossreid.runs.evaluate import evaluate
from crossreid.runs.other_data import OtherData
from crossreid.runs.run import open_run
from small_model import recipe_of


@pytest.fixture
def run(tmp_path):
    (run,) = copied(tmp_path, "a")
    evaluate(run)
    return run


def contents(run):
    return {name: (run / name).read_bytes() for name in ("scores.json", "features.npz", "recipe.yaml")}


def test_another_data_set_is_scored_by_its_protocol_and_kept_apart(run):
    before = contents(run)
    scores = evaluate(run, data="regdb", root=made() / "regdb")
    assert {score.protocol for score in scores} == {"regdb"}
    assert contents(run) == before
    (kept,) = (run / "evaluations").iterdir()
    assert kept.name.startswith("regdb-regdb-")
    assert json.loads((kept / "scores.json").read_text()) == [score.to_json() for score in scores]
    method = open_run(run).method
    opened = open_run(run, on=OtherData("regdb", made() / "regdb"))
    for name, weight in method.state_dict().items():
        np.testing.assert_array_equal(weight, opened.method.state_dict()[name])
    assert len(load(kept / "features.npz")) == len(opened.split.test)


def test_a_copy_elsewhere_gives_the_same_scores_where_the_data_moved(run, tmp_path):
    own = [score.to_json() for score in evaluate(run)]
    moved = tmp_path / "moved"
    shutil.copytree(made() / "sysu", moved)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(made() / "sysu"), "/gone"))
    with pytest.raises(CrossreidError, match="/gone"):
        evaluate(run)
    assert [score.to_json() for score in evaluate(run, root=moved)] == own


def test_other_options_are_tested_by_and_named_apart(run):
    evaluate(run, overrides=["evaluation.trials=3"])
    evaluate(run, overrides=["evaluation.flip=true"])
    trials = [
        len(json.loads((kept / "scores.json").read_text())[0]["trials"]) for kept in (run / "evaluations").iterdir()
    ]
    assert sorted(trials) == [3, 10]


def test_other_pixels_are_named_apart_too():
    trained = recipe_of()
    scale = ("data.normalise.mean=[0.5, 0.5, 0.5]", "data.normalise.std=[0.5, 0.5, 0.5]")
    tried = [(), ("data.levels=picture",), ("data.levels=[7000, 9000]",), ("data.levels={1: [7000, 9000]}",), scale]
    others = [OtherData(overrides=overrides) for overrides in tried]
    assert len({other.label(other.recipe(trained)) for other in others}) == len(tried)


@pytest.mark.parametrize(
    "override",
    ["data.normalise={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}", "data.levels=picture", "data.on_bad_image=skip"],
)
def test_whatever_changes_the_pixels_is_kept_apart(run, override):
    trained = open_run(run).recipe
    plain, other = OtherData(root=made() / "sysu"), OtherData(root=made() / "sysu", overrides=[override])
    assert plain.label(plain.recipe(trained)) != other.label(other.recipe(trained))


def test_a_folder_of_seeds_is_said_to_be_one(run, tmp_path):
    run.rename(tmp_path / "seed-0")
    with pytest.raises(
        CrossreidError, match=r"holds 1 runs of different seeds. Name one of them.*seed-0.*crossreid compare"
    ):
        evaluate(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "regdb"}, "--data regdb needs --root"),
        ({"overrides": ["training.epochs=3"]}, r"only keys of data and evaluation"),
        ({"overrides": ["evaluation.fllip=true"]}, "flip"),
        ({"data": "regbd", "root": "x"}, "regdb"),
    ],
)
def test_what_makes_no_sense_is_refused(run, options, message):
    with pytest.raises(CrossreidError, match=message):
        evaluate(run, **options)
