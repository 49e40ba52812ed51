"""Starts in runs that are killed and go on, in recipes of two stages, and in trials."""

import shutil
import signal

import pytest
import torch

import crossreid
from crossreid.data.synthetic import synthesise
from crossreid.reporting.report import environment
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_run
from crossreid.runs.starting import read_start
from crossreid.runs.stored_run import run_fingerprint
from crossreid.training.checkpoint import load_checkpoint
from forked import Forked, command, killed_after
from small_model import NETWORK, recipe_of, write_run

SAMPLER = {"identities": 2, "images": 2, "epoch": 4}
DATA = {"name": "manifest", "height": 32, "width": 16, "workers": 0, "sampler": SAMPLER}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A world, and a run of another method and of other identities to start from."""
    folder = tmp_path_factory.mktemp("place")
    synthesise(folder / "world", "manifest", 6, 3, images_per_camera=2, size=(32, 16), workers=1)
    write_run(folder / "source", recipe_of("implicit_knowledge"), ema=True)
    return folder


def recipe(place, *, method=None, data=None, **more):
    given = {"data": DATA | {"root": str(place / "world")} | (data or {}),
             "method": {"name": "baseline", "backbone": NETWORK} | (method or {}), **more}  # fmt: skip
    return make_recipe(given)


def test_a_run_that_is_killed_after_its_start_ends_as_one_that_was_not(place, tmp_path):
    training = {"epochs": 3, "checkpoint_steps": 3, "ema": 0.9, "freeze": ["stem", "backbone"], "validate_every": 9,
                "unfreeze_after": {"backbone": 1.5}, "optimiser": {"rates": {"stage1": 0.1, "heads": 2.0}}}  # fmt: skip
    source = tmp_path / "source"
    shutil.copytree(place / "source", source)
    wanted = recipe(place, training=training, start_from=str(source))
    crossreid.train(wanted, tmp_path / "whole")
    (tmp_path / "recipe.yaml").write_text(wanted.as_yaml())
    arguments = ("train", tmp_path / "recipe.yaml", "--out", tmp_path / "killed")
    last = tmp_path / "killed" / "last.safetensors"
    process = Forked(killed_after, last, command, *arguments, log=tmp_path / "log")
    assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert load_checkpoint(last).facts["step"] == 3
    assert load_checkpoint(tmp_path / "whole" / "last.safetensors").facts["step"] == 12
    shutil.rmtree(source)  # what goes on asks for it no more
    crossreid.train(wanted, tmp_path / "killed")
    one, other = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "killed"))
    assert one.facts["groups"] == other.facts["groups"]
    for kind, tensors in one.tensors.items():
        assert tensors.keys() == other.tensors[kind].keys()
        assert all(torch.equal(tensor, other.tensors[kind][name]) for name, tensor in tensors.items()), kind
    facts = read_start(tmp_path / "killed")
    assert facts == read_start(tmp_path / "whole")
    assert facts["fingerprint"] == run_fingerprint(place / "source")
    said = environment([open_run(tmp_path / "killed")], {"a run": []})["started from"]
    assert said == f"source (implicit_knowledge), fingerprint {facts['fingerprint'][:12]}"


def test_students_start_from_a_run_and_so_does_a_teacher_that_says_so(place, tmp_path):
    method = {"name": "view_distillation", "backbone": {**NETWORK, "last_activation": False}, "images": 1}
    sets = {"sets": {"size": 2}, "sampler": {**SAMPLER, "balance": "none"}}
    training = {"epochs": 1, "validate_every": 9}
    given = {"method": method, "data": sets, "training": training, "start_from": str(place / "source")}
    for out, teacher in (("plain", {}), ("both", {"start_from": str(place / "source")})):
        crossreid.train(recipe(place, teacher=teacher, **given), tmp_path / out)
        started = read_start(tmp_path / out / "student")
        assert started["encoder"] == "shared"
        assert (read_start(tmp_path / out / "teacher") is None) is (out == "plain")
    crossreid.train(recipe(place, training=training, start_from=str(tmp_path / "plain")), tmp_path / "after")
    assert read_start(tmp_path / "after")["file"].endswith("plain/student/best.safetensors"), "the last student's"


def test_each_trial_starts_from_the_trial_of_its_number(place, tmp_path):
    synthesise(tmp_path / "regdb", "regdb", 4, 0, images_per_camera=2, size=(32, 16), workers=1)
    for trial in (1, 2):
        shutil.copytree(place / "source", tmp_path / "sources" / f"trial-{trial}")
    data = {"name": "regdb", "root": str(tmp_path / "regdb")}
    training = {"epochs": 1, "validate_every": 9}
    for source, ends in ((tmp_path / "sources", "trial-{}"), (place / "source", "source")):
        crossreid.train(
            recipe(place, data=data, training=training, start_from=str(source)),
            tmp_path / f"from-{source.name}",
            trials=[1, 2],
        )
        for trial in (1, 2):
            assert read_start(tmp_path / f"from-{source.name}" / f"trial-{trial}")["run"].endswith(ends.format(trial))
