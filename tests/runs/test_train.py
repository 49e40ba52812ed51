"""Training and evaluating in Python do what the commands do: files, trials, two stages, generations."""

import json
from pathlib import Path

import pytest

import crossreid
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.files import json_rows
from crossreid.runs.folders import runs_in, sorted_trials, stage_runs
from crossreid.runs.recipe import load_recipe, make_recipe
from crossreid.runs.train import train_run
from crossreid.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from few_fits import quick_maps

NETWORK = {"name": "test_resnet", "weights": "none"}


def recipe_for(root, name, **more):
    data = {"name": name, "root": str(root), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2, "balance": "modality" if name == "regdb" else "none"}
    data["sampler"]["epoch"] = 3
    return make_recipe(
        {"data": data, "method": {"name": "baseline", "backbone": NETWORK}, "training": {"epochs": 1}, **more}
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return synthesise(
        tmp_path_factory.mktemp("films") / "mars", "mars", 8, 0, images_per_camera=3, size=(32, 16), workers=1
    )


def two_stages(films, generations):
    data = {"name": "mars", "root": str(films), "height": 32, "width": 16, "workers": 0, "sets": {"size": 2}}
    data["sampler"] = {"identities": 2, "images": 2, "balance": "none", "epoch": 3}
    return {
        "data": data, "method": {"name": "view_distillation", "backbone": NETWORK | {"last_activation": False}, "images": 1},
        "training": {"epochs": 1}, "teacher": {"training": {"epochs": 1}}, "generations": generations,
    }  # fmt: skip


def test_a_file_of_two_stages_trains_teacher_and_every_student_and_all_are_evaluated(films, tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    file = tmp_path / "stages.yaml"
    file.write_text(make_recipe(two_stages(films, 2)).as_yaml())
    ended = []
    out = tmp_path / "out"
    result = crossreid.train(file, out, done=lambda folder, result: ended.append((folder.name, result.steps)))
    assert [name for name, _ in ended] == ["teacher", "student", "student-2"]
    assert result.steps == ended[-1][1] > 0
    assert stage_runs(out) == [out / name for name, _ in ended] == runs_in(out)
    taught_by = [load_recipe(run / "recipe.yaml").method.teacher for run in stage_runs(out)]
    assert taught_by == [None, out / "teacher", out / "student"]
    scores = crossreid.evaluate(out)
    written = [json.loads((run / "scores.json").read_text()) for run in stage_runs(out)]
    assert [score.to_json() for score in scores] == [score for each in written for score in each]
    page = crossreid.report([out], tmp_path / "report.html").read_text()
    assert all(f"Views knowledge distillation ({name})" in page for name, _ in ended)


def test_one_stage_alone(films, tmp_path):
    recipe = make_recipe(two_stages(films, 1))
    crossreid.train(recipe, tmp_path, stage="teacher")
    assert stage_runs(tmp_path) == [tmp_path / "teacher"]
    with pytest.raises(CrossreidError, match="expected one of teacher, student"):
        crossreid.train(recipe, tmp_path, stage="pupil")
    with pytest.raises(CrossreidError, match="no `teacher` section"):
        crossreid.train(recipe_for(films, "mars"), tmp_path, stage="teacher")


def test_a_teacher_is_never_silently_left_out(films, tmp_path):
    with pytest.raises(CrossreidError, match="stands for several runs"):
        train_run(make_recipe(two_stages(films, 1)), tmp_path)


def test_trials_are_runs_of_their_own_and_averaged(tmp_path):
    root = synthesise(tmp_path / "regdb", "regdb", 8, 0, images_per_camera=2, size=(32, 16), workers=1)
    out = tmp_path / "runs"
    crossreid.train(recipe_for(root, "regdb"), out, trials=[1, 3])
    assert sorted_trials(out) == [out / "trial-1", out / "trial-3"] == runs_in(out)
    assert [load_recipe(run / "recipe.yaml").data.options["trial"] for run in sorted_trials(out)] == [1, 3]
    (together, *_) = crossreid.evaluate(out)
    alone = [crossreid.evaluate(run)[0] for run in sorted_trials(out)]
    assert together.mAP == pytest.approx(sum(score.mAP for score in alone) / 2)


def test_where_a_run_goes_is_said_or_follows_from_the_file(films, tmp_path, monkeypatch):
    with pytest.raises(CrossreidError, match="expected `out`"):
        crossreid.train(recipe_for(films, "mars"))
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(recipe_for(films, "mars").as_yaml())
    crossreid.train("mine.yaml")
    assert runs_in(Path("runs/mine")) == [Path("runs/mine")]
    assert (tmp_path / "runs" / "mine" / "last.safetensors").is_file()


def test_a_number_that_validation_does_not_give_is_refused_before_anything_is_done(tmp_path, capsys):
    root = synthesise(tmp_path / "llcm", "llcm", 12, 0, images_per_camera=1, size=(32, 16), workers=1)
    for monitor in ("rank1", "map", "loss"):
        recipe = recipe_for(root, "llcm", training={"epochs": 1, "monitor": monitor})
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"options": {"validation": 2}})})
        expected = rf"training\.monitor is '{monitor}', expected one of rank-1, mAP, mINP"
        with pytest.raises(CrossreidError, match=expected):
            crossreid.train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_nothing_to_evaluate():
    with pytest.raises(CrossreidError, match="expected one or more runs"):
        crossreid.evaluate([])


def test_a_run_goes_on_with_another_rate_and_the_recipe_says_which(tmp_path):
    root = synthesise(tmp_path / "world", "regdb", 6, 0, images_per_camera=2, size=(32, 16), workers=1)
    out, constant = tmp_path / "run", {"schedule": {"kind": "constant"}}
    crossreid.train(recipe_for(root, "regdb", training={"epochs": 1, **constant}), out)
    more = recipe_for(root, "regdb", training={"epochs": 2, **constant})
    with pytest.raises(CrossreidError, match=r"--continue-with data\.height: what was trained so far depends on it"):
        crossreid.train(more, out, continue_with=["data.height=64"])
    with pytest.raises(CrossreidError, match="--continue-with 'x': expected KEY=VALUE"):
        crossreid.train(more, out, continue_with=["x"])
    crossreid.train(more, out, continue_with=["training.optimiser.lr=1e-5", "training.clip=1"])
    assert load_recipe(out / "recipe.yaml").training.optimiser.lr == 1e-5
    rates = {row["lr"] for row in json_rows(out / "metrics.jsonl") if "losses" in row}
    assert rates == {more.training.optimiser.lr, 1e-5}
    changes = json.loads((out / "changes.json").read_text())
    assert [change["key"] for change in changes] == ["training.clip", "training.epochs", "training.optimiser.lr"]
    with pytest.raises(CrossreidError, match=r"lr was 1e-05, is 0\.00026"):
        crossreid.train(recipe_for(root, "regdb", training={"epochs": 3, **constant}), out)
    moved = more.model_copy(update={"data": more.data.model_copy(update={"on_bad_image": "skip"})})
    crossreid.train(moved, out, continue_with=["training.optimiser.lr=1e-5", "training.clip=1", "training.epochs=3"])
    assert load_recipe(out / "recipe.yaml").data.on_bad_image == "skip"


def test_a_run_of_before_a_key_was_there_goes_on(tmp_path):
    root = synthesise(tmp_path / "world", "regdb", 6, 0, images_per_camera=2, size=(32, 16), workers=1)
    out = tmp_path / "run"
    crossreid.train(recipe_for(root, "regdb"), out)
    stored = load_checkpoint(out / "last.safetensors")
    recipe = stored.facts["recipe"]
    for section, key in (("training", "freeze"), ("data", "interpolation"), ("evaluation", "flip")):
        del recipe[section][key]
    save_checkpoint(out / "last.safetensors", Checkpoint(stored.tensors, stored.facts | {"recipe": recipe}))
    crossreid.train(recipe_for(root, "regdb", training={"epochs": 2}), out)
    assert {change["key"] for change in json.loads((out / "changes.json").read_text())} == {"training.epochs"}
