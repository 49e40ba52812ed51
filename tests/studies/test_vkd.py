"""What the studies of views knowledge distillation compare, and a study in which runs wait for their teachers."""

import json
from pathlib import Path

import pytest

from crossreid.data.synthetic import synthesise
from crossreid.reporting.study_plot import draw_study
from crossreid.reporting.study_table import markdown_table, terminal_table
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe, teacher_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.studies.running import run_study
from crossreid.studies.study import StudyError
from crossreid.studies.vkd import cross_distillation_study, vkd_recipe, vkd_study
from forked import fork_runs

RECIPE = SHIPPED / "vkd_synthetic.yaml"
BASE = load_recipe(RECIPE)
SMALL = [
    "data.height=32", "data.width=16", "data.options.validation=2", "data.sets.size=3", "training.epochs=1",
    "data.sampler.identities=2", "data.sampler.images=2", "data.sampler.epoch=2", "teacher.training.epochs=1",
    "teacher.data.sampler.identities=2", "teacher.data.sampler.images=2", "teacher.data.sampler.epoch=2",
    "training.schedule.warmup_epochs=0",
]  # fmt: skip


def flat(values, prefix=""):
    found = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def changed(key):
    """What a student's recipe of the study changes of the reference's, without where its runs lie."""
    study, out = vkd_study(), Path("out")
    cells = {cell.key: cell for cell in study.cells}
    own, other = (flat(vkd_recipe(BASE, cells[k], 3, out).model_dump(mode="json")) for k in (key, study.reference))
    return {name: value for name, value in own.items() if value != other[name]}


def test_a_cell_changes_what_it_says_and_nothing_else():
    assert changed("terms-lce-ltr-lkd") == {"method.distance_weight": 0.0}
    assert changed("terms-lce-ltr-ldp") == {"method.knowledge_weight": 0.0}
    assert changed("terms-lkd-ldp") == {"method.identity_weight": 0.0, "method.triplet_weight": 0.0}
    unguided = {"method.knowledge_weight": 0.0, "method.distance_weight": 0.0, "method.teacher": None}
    assert changed("terms-lce-ltr") == unguided | {"method.start": "out/teacher/seed-3"}
    assert changed("terms-lce") == changed("terms-lce-ltr") | {"method.triplet_weight": 0.0}
    assert changed("heavier") == {"method.knowledge_weight": 1.0, "method.distance_weight": pytest.approx(1e-3)}
    assert changed("no-cameras") == {"data.sets.source": "identity"}
    assert changed("time") == {"data.sets.source": "tracklet"}
    assert changed("student-2") == {"method.teacher": "out/student/seed-3"}
    alone = {"method.teacher": None, "method.start": "weights"}
    assert changed("alone") == alone
    assert changed("taught") == {"method.teacher": "out/student-2/seed-3", "method.start": "weights"}
    assert changed("heavy-kd") == {"method.knowledge_weight": 10.0}
    assert changed("taught-heavy-kd") == changed("taught") | {"method.knowledge_weight": 10.0}
    epochs = BASE.training.epochs + BASE.teacher["training"]["epochs"]
    assert changed("alone-longer") == alone | {"training.epochs": epochs, "training.validate_every": epochs}


def test_the_teachers_cell_is_the_teachers_stage():
    cell = next(cell for cell in vkd_study().cells if cell.key == "teacher")
    given = teacher_recipe(BASE).model_dump(mode="json")
    given["training"]["seed"] = 3
    assert vkd_recipe(BASE, cell, 3, Path("out")) == make_recipe(given)
    with pytest.raises(RecipeError, match="no `teacher` section"):
        vkd_recipe(make_recipe(given), cell, 3, Path("out"))


def test_in_cross_distillation_only_who_guides_differs():
    study = cross_distillation_study(["a10", "b20"])
    students = {cell.key: cell for cell in study.cells if cell.teacher}
    assert set(students) == {"a10-to-a10", "b20-to-a10", "a10-to-b20", "b20-to-b20"}
    for key, cell in students.items():
        other, own = key.split("-to-")
        method = vkd_recipe(BASE, cell, 1, Path("out")).method
        assert str(method.teacher) == f"out/teacher-{other}/seed-1"
        assert str(method.start) == f"out/teacher-{own}/seed-1"
        assert method.backbone.name == own
        assert cell.needs == {f"teacher-{other}", f"teacher-{own}"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    world = tmp_path_factory.mktemp("world") / "mars"
    synthesise(world, "mars", 10, 0, images_per_camera=4, size=(32, 16), workers=1)
    return load_recipe(RECIPE, [f"data.root={world}", *SMALL])


@pytest.mark.slow
def test_students_wait_for_their_teachers(base, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    table = run_study(base, vkd_study(), tmp_path, seeds=[1], jobs=2, only=["student"])
    assert [row["key"] for row in table["rows"]] == ["teacher", "student"]
    for row in table["rows"]:
        assert set(row["figures"]) == {"image to video", "video to video"}
    recipe = load_recipe(tmp_path / "student" / "seed-1" / "recipe.yaml")
    assert recipe.method.teacher == tmp_path / "teacher" / "seed-1"
    text = markdown_table(table)
    assert "| rank-1, I2V | mAP, I2V | rank-1, V2V | mAP, V2V | mAP, I2V, against student: all terms |" in text.replace(
        "|  |", "|", 1
    )
    assert "**teacher and students**" in text
    assert terminal_table(table)
    assert draw_study(json.loads((tmp_path / "table.json").read_text()))


@pytest.mark.slow
def test_a_student_is_not_begun_without_its_teacher(base, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    broken = tmp_path / "teacher" / "seed-0"
    broken.mkdir(parents=True)
    (broken / "last.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(StudyError, match="2 of 2 runs failed") as error:
        run_study(base, vkd_study(), tmp_path, seeds=[0], only=["student"])
    assert "not started: a run that it needs has failed" in str(error.value)
    assert "damaged" in str(error.value)
