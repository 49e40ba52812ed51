"""One run of a study, as its process does it."""

import json
import os
import signal
import time

import pytest

from crossreid.runs.recipe import make_recipe
from crossreid.studies.one_run import train_and_score
from forked import Forked, one_run


def held_elsewhere(other_end, arguments, standard_input):
    os.close(other_end)  # a fork has it too, and would hold its own input open
    one_run(arguments, standard_input)


@pytest.mark.slow
def test_a_run_stops_with_its_study_and_goes_on(base, tmp_path):
    """The study holds the run's standard input; once that is closed the run writes a checkpoint and ends."""
    recipe = make_recipe(base.model_dump(mode="json"), ["method.branches=shared", "training.epochs=400"])
    wanted, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    wanted.write_text(recipe.as_yaml())
    reading, held_by_the_study = os.pipe()
    process = Forked(held_elsewhere, held_by_the_study, [str(wanted), str(folder)], reading)
    deadline = time.monotonic() + 120
    while not (folder / "last.safetensors").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert process.poll() is None
    os.close(held_by_the_study)
    assert process.wait(60) == 128 + signal.SIGTERM
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert 0 < max(steps) < 400
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_one_run_writes_its_figures(base, tmp_path):
    train_and_score(base, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["scores"]) == {"v", "z", "both", "not re-ranked", "re-ranked"}
    assert results["steps"] > 0
    assert results["validation"] is not None
