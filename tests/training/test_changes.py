from pathlib import Path

import pytest

from crossreid.runs.key_table import keys
from crossreid.training.changes import (
    FREE,
    ON_REQUEST,
    Change,
    changes_between,
    is_among,
    refuse_another_recipe,
    refuse_request,
)
from crossreid.training.checkpoint import CheckpointError

RECIPE = {
    "data": {"root": "a", "workers": 1, "height": 8},
    "training": {"epochs": 1, "clip": None, "optimiser": {"lr": 0.1}, "schedule": {"milestones": (1, 2)}},
    "evaluation": {"flip": False},
}


def with_keys(**changed):
    now = {name: dict(section) for name, section in RECIPE.items()}
    for key, value in changed.items():
        section, _, name = key.partition("__")
        now[section][name] = value
    return now


def test_what_differs_is_found_whatever_kind_of_sequence_it_is():
    assert changes_between(RECIPE, with_keys(training__schedule={"milestones": [1, 2]})) == []
    (change,) = changes_between(RECIPE, with_keys(training__optimiser={"lr": 0.2}))
    assert change == ("training.optimiser.lr", 0.1, 0.2)
    assert changes_between({"a": None}, {}) == []


def test_where_data_is_how_long_and_where_one_trains_and_how_one_looks_may_change(tmp_path):
    moved = with_keys(
        data__root="b", data__workers=0, training__epochs=9, training__checkpoint_steps=5, training__validate_every=3,
        training__devices=2, training__monitor="mAP", evaluation__flip=True,
    )  # fmt: skip
    refuse_another_recipe(tmp_path, changes_between(RECIPE, moved))
    with pytest.raises(CheckpointError, match=r"another recipe \(data\.height was 8, is 9\).*delete that folder"):
        refuse_another_recipe(tmp_path, changes_between(RECIPE, with_keys(data__height=9)), ["data.height"])


def test_the_rate_changes_on_request_alone(tmp_path):
    changes = changes_between(RECIPE, with_keys(training__optimiser={"lr": 0.2}, training__clip=1.0))
    with pytest.raises(
        CheckpointError, match=r"go on from there with --continue-with training\.clip=1\.0 --continue-with "
    ):
        refuse_another_recipe(tmp_path, changes)
    with pytest.raises(CheckpointError, match=r"\(training\.clip was None, is 1\.0\)"):
        refuse_another_recipe(tmp_path, changes, ["training.optimiser.lr"])
    refuse_another_recipe(tmp_path, changes, ["training.optimiser", "training.clip"])


def test_what_the_past_depends_on_is_never_asked_for():
    refuse_request(["training.optimiser.lr", "training.schedule", "training.schedule.kind", "training.epochs"])
    for key in (
        "data.height",
        "training.seed",
        "method.margin",
        "training.optimiser.name",
        "training.optimiser",
        "training",
    ):
        with pytest.raises(CheckpointError, match=f"--continue-with {key}: what was trained so far"):
            refuse_request([key])


def test_every_key_that_may_change_is_a_key():
    known = [key for key, *_ in keys()]
    for key in (*FREE, *ON_REQUEST):
        assert any(is_among(one, [key]) for one in known), key


def test_a_run_of_before_the_input_size_is_told_how_to_go_on():
    change = Change("method.backbone.input_size", None, [64, 32])
    with pytest.raises(CheckpointError, match=r"go on as it began with --set method\.backbone\.input_size=null\."):
        refuse_another_recipe(Path("last.safetensors"), [change])
