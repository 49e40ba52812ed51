"""Two stages as one job: a real teacher, real students, from the command line, killed and resumed."""

import json
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.runs.folders import stage_runs
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe, teacher_recipe
from crossreid.runs.run import open_run
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.teacher_student import stage_recipes
from crossreid.runs.train import train
from crossreid.training.checkpoint import load_checkpoint
from few_fits import quick_maps
from forked import Forked, command, killed_after

RECIPE = SHIPPED / "vkd_synthetic.yaml"
SMALL = [
    "data.height=32", "data.width=16", "data.options.validation=2", "data.sets.size=3", "training.epochs=1",
    "data.sampler.identities=2", "data.sampler.images=2", "teacher.training.epochs=1",
    "teacher.data.sampler.identities=2", "teacher.data.sampler.images=2", "training.schedule.warmup_epochs=0",
    "data.sampler.epoch=4", "teacher.data.sampler.epoch=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    synthesise(place / "mars", "mars", 10, 0, images_per_camera=3, size=(32, 16), workers=1)
    synthesise(place / "tracklets", "tracklets", 10, 0, images_per_camera=3, size=(32, 16), workers=1)
    return place


def small(world, *more):
    return load_recipe(RECIPE, [f"data.root={world / 'mars'}", *SMALL, *more])


def arguments(world, out, *more):
    sets = [part for override in [f"data.root={world / 'mars'}", *SMALL] for part in ("--set", override)]
    return ["train", str(RECIPE), "--out", str(out), *sets, *more]


def test_a_teachers_recipe_is_the_recipe_with_its_changes(world):
    recipe = small(world, "teacher.method.backbone.name=resnet18", "method.knowledge_weight=0.3", "generations=2")
    first, *students = stage_recipes(recipe, Path("out"))
    assert first[0] == Path("out/teacher")
    teacher = first[1]
    assert teacher == teacher_recipe(recipe)
    assert teacher.method.backbone.name == "resnet18"
    assert (teacher.method.teacher, teacher.method.start, teacher.method.images) == (None, "weights", None)
    assert (teacher.data.sets.source, recipe.data.sets.source) == ("tracklet", "cameras")
    assert teacher.data.sets.size == recipe.data.sets.size
    assert [folder.name for folder, _ in students] == ["student", "student-2"]
    assert [str(one.method.teacher) for _, one in students] == ["out/teacher", "out/student"]
    for _, one in students:
        assert one.teacher is None
        assert one.method.knowledge_weight == 0.3
        assert one.training == recipe.training
    alone = make_recipe(recipe.model_dump(mode="json") | {"teacher": None})
    assert stage_recipes(alone, Path("out")) == [(Path("out"), alone)]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("teacher.training.epoch=3", r"teacher: unknown key 'training\.epoch'"),
        ("teacher.data.sets.size=0", "sets.size"),
        ("method.images=9", "among its teacher's"),
        ("method.teacher=x", r"`teacher` and method\.teacher: expected one of them"),
        ("method.network={name: nothing}", r"method\.network\.name: expected one of .*'nothing'"),
        ("method.network={name: baseline, margin: -1}", r"method\.network\.margin: .*greater than 0"),
        ("method={name: baseline}", "view_distillation, but the method is baseline|baseline learns from single images"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(world, override, told):
    with pytest.raises(RecipeError, match=told):
        small(world, override)


def test_single_image_methods_take_no_sets(world):
    given = {"data": {"name": "mars", "root": "x", "sets": {"size": 2}}, "method": {"name": "baseline"}}
    with pytest.raises(RecipeError, match=r"data\.sets\.size is 2, but baseline learns from single images"):
        make_recipe(given)


@pytest.mark.slow
def test_teacher_and_students_are_one_job(world, tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    run = lambda *more: CliRunner().invoke(app, arguments(world, tmp_path / "job", *more))  # noqa: E731
    refused = run("--stage", "student")
    assert refused.exit_code != 0
    assert "holds no run" in str(refused.exception)
    assert run("--stage", "teacher").exit_code == 0
    assert [path.name for path in stage_runs(tmp_path / "job")] == ["teacher"]
    before = (tmp_path / "job" / "teacher" / "last.safetensors").stat().st_mtime_ns
    done = run("--set", "generations=2")
    assert done.exit_code == 0, done.output
    assert "teacher was already finished" in done.output.replace("\n", "")
    assert [path.name for path in stage_runs(tmp_path / "job")] == ["teacher", "student", "student-2"]
    assert (tmp_path / "job" / "teacher" / "last.safetensors").stat().st_mtime_ns == before
    rows = [json.loads(line) for line in (tmp_path / "job" / "student" / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]["losses"]) == {"identity", "triplet", "knowledge", "distance"}
    teacher = load_checkpoint(tmp_path / "job" / "teacher" / "last.safetensors").tensors["model"]
    student = load_checkpoint(tmp_path / "job" / "student" / "last.safetensors").tensors["model"]
    assert teacher.keys() == student.keys()

    evaluated = CliRunner().invoke(app, ["evaluate", str(tmp_path / "job"), "--json", str(tmp_path / "s.json")])
    assert evaluated.exit_code == 0, evaluated.output
    scores = json.loads((tmp_path / "s.json").read_text())
    assert [score["setting"] for score in scores] == ["image to video", "video to video"] * 3
    assert all((path / "features-video-to-video.npz").is_file() for path in stage_runs(tmp_path / "job"))
    several = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "job"), "--query-images", "1,2,all", "--json", str(tmp_path / "m.json")]
    )
    assert several.exit_code == 0, several.output
    named = [score["setting"] for score in json.loads((tmp_path / "m.json").read_text())]
    assert named == ["image to video", "2 images to video", "all images to video"] * 3
    report = CliRunner().invoke(app, ["report", str(tmp_path / "job")])
    assert report.exit_code == 0, report.output
    page = (tmp_path / "job" / "report.html").read_text()
    assert "Views knowledge distillation (teacher)" in page
    assert "image to video" in page


@pytest.mark.slow
def test_a_killed_job_goes_on_to_the_same_bits(world, tmp_path):
    steps = ["training.epochs=2", "training.checkpoint_steps=3"]
    job = [*arguments(world, tmp_path / "killed"), *(part for step in steps for part in ("--set", step))]
    train(small(world, *steps), tmp_path / "whole")
    last = tmp_path / "killed" / "student" / "last.safetensors"
    assert Forked(killed_after, last, command, *job).wait(120) == -signal.SIGKILL
    assert load_checkpoint(last).facts["step"] == 3
    assert Forked(command, *job).wait(120) == 0
    for stage in ("teacher", "student"):
        one, other = (
            load_checkpoint(tmp_path / name / stage / "last.safetensors").tensors["model"]
            for name in ("whole", "killed")
        )
        assert all((one[key] == other[key]).all() for key in one), stage


@pytest.mark.slow
def test_any_methods_run_can_teach_and_be_taught_across_modalities(world, tmp_path):
    """A cross-modal method's run teaches views knowledge distillation, and its network learns from a teacher of tracklets."""
    small_data = {
        "name": "manifest", "root": str(world / "tracklets"), "height": 32, "width": 16, "workers": 0,
        "sampler": {"identities": 2, "images": 2, "epoch": 4},
    }  # fmt: skip
    backbone = {"name": "test_resnet", "weights": "none"}
    vd = {"name": "variational_distillation", "backbone": backbone}
    taught = {"data": small_data, "method": vd, "training": {"epochs": 1}}
    train(make_recipe(taught), tmp_path / "vd")
    sets = {"data": small_data | {"sets": {"size": 3, "source": "cameras"}}, "training": {"epochs": 1}}
    student = {
        "name": "view_distillation", "network": vd, "teacher": str(tmp_path / "vd"), "start": "teacher", "images": 1,
        "distance": "cosine",
    }  # fmt: skip
    train(
        make_recipe({**sets, "method": student, "evaluation": {"sets": ["v2v", "i2v"]}}), tmp_path / "taught"
    )  # fmt: skip
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "taught"), "--json", str(tmp_path / "s.json")])
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "s.json").read_text())
    assert [s["setting"] for s in scores] == [
        f"{way}, {kind}"
        for way in ("infrared to visible", "visible to infrared")
        for kind in ("video to video", "image to video")
    ]
    assert open_run(tmp_path / "taught").method.teacher is None
    other = make_recipe({**sets, "method": student | {"start": "weights"}}, ["data.options.seed=1"])
    train(other, tmp_path / "again")  # the same identities: another option of the reader changes nothing here
    elsewhere = [f"data.root={world / 'mars'}", "data.name=mars", "data.sampler.balance=none"]
    fewer = make_recipe({**sets, "method": student}, elsewhere)
    with pytest.raises(ValueError, match="these are not the same"):
        train(fewer, tmp_path / "fewer")
