"""Whole recipes side by side: what is compared, and two studies that are run, one of recipes of two stages."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.reporting.study_plot import draw_study
from crossreid.reporting.study_table import markdown_table
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe
from crossreid.runs.run import open_run
from crossreid.runs.shipped import SHIPPED
from crossreid.studies.one_run import score_spaces
from crossreid.studies.running import run_study
from crossreid.studies.side_by_side import named, recipes_study
from crossreid.studies.study import StudyError
from few_fits import quick_drawings
from forked import fork_runs

BASE = load_recipe(SHIPPED / "idkl_synthetic.yaml")
OTHERS = [SHIPPED / f"{name}_synthetic.yaml" for name in ("baseline", "agw", "idkl", "vd", "vd_two-stream")]


def test_synthetic_recipes_differ_in_their_method_alone():
    loaded = {name: load_recipe(path) for name, path in named(OTHERS).items()}
    for recipe in loaded.values():
        assert recipe.model_copy(update={"method": BASE.method}) == BASE
    study = recipes_study(loaded)
    assert [cell.method for cell in study.cells] == [recipe.method.name for recipe in loaded.values()]
    cell = study.cells[1]
    given = loaded[cell.key].model_dump(mode="json")
    given["training"]["seed"] = 9
    assert study.recipe(BASE, cell, 9, Path("out")) == make_recipe(given)


def test_other_data_one_recipe_and_equal_names_are_refused():
    elsewhere = make_recipe(BASE.model_dump(mode="json"), ["data.root=elsewhere"])
    with pytest.raises(RecipeError, match=r"b: data\.root is elsewhere"):
        recipes_study({"a": BASE, "b": elsewhere})
    with pytest.raises(RecipeError, match="two or more recipes"):
        recipes_study({"a": BASE})
    with pytest.raises(RecipeError, match="same name"):
        named([Path("a/x.yaml"), Path("b/x.yaml")])


@pytest.mark.slow
def test_recipes_are_run_side_by_side_not_re_ranked_and_re_ranked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
    quick_drawings(monkeypatch)
    synthesise(tmp_path / "data" / "synthetic", "sysu-mm01", 12, 0, images_per_camera=2, size=(32, 16), workers=1)
    small = ["data.height=32", "data.width=16", "training.epochs=1", "training.validate_every=1",
             "training.schedule.warmup_epochs=0", "data.sampler.identities=2"]  # fmt: skip
    arguments = ["ablate", "recipes", str(OTHERS[1]), str(OTHERS[2]), "--seeds", "0", "--jobs", "2", "--out", "study"]
    for override in small:
        arguments += ["--set", override]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "study" / "table.json").read_text())
    assert [row["key"] for row in table["rows"]] == ["agw_synthetic", "idkl_synthetic"]
    for row in table["rows"]:
        scores = json.loads((tmp_path / "study" / row["key"] / "seed-0" / "results.json").read_text())["scores"]
        assert scores["not re-ranked"]["re-ranked"] != scores["re-ranked"]["re-ranked"]
        assert row["figures"]["not re-ranked"]["mAP"] == [scores["not re-ranked"]["mAP"]]
    markdown = markdown_table(table)
    assert "rank-1, not re-ranked" in markdown
    assert "k-reciprocal re-ranking where named" in markdown
    figure = draw_study(table, "mAP")
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {"not re-ranked", "re-ranked"}


@pytest.mark.slow
def test_of_recipes_with_teachers_the_last_student_is_compared(tmp_path, monkeypatch):
    """Two recipes of two stages, of which one teaches twice, on films of both modalities."""
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
    quick_drawings(monkeypatch)
    synthesise(tmp_path / "tracklets", "tracklets", 10, 0, images_per_camera=4, size=(32, 16), workers=1)
    small = ["data.root=tracklets", "data.height=32", "data.width=16", "data.sets.size=3", "training.epochs=1",
             "training.validate_every=1", "data.sampler.identities=2", "data.sampler.images=2",
             "data.sampler.epoch=2", "teacher.training.epochs=1", "teacher.training.validate_every=1",
             "teacher.data.sampler.identities=2", "teacher.data.sampler.images=2", "teacher.data.sampler.epoch=3",
             "training.schedule.warmup_epochs=0"]  # fmt: skip
    for name, more in (("vkd_a", []), ("vkd_b", ["generations=2"])):
        recipe = load_recipe(SHIPPED / "vkd_tracklets.yaml", [*small, *more])
        (tmp_path / f"{name}.yaml").write_text(recipe.as_yaml())
    arguments = ["ablate", "recipes", "vkd_a.yaml", "vkd_b.yaml", "--seeds", "0", "--jobs", "2", "--out", "study"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    first, second = tmp_path / "study" / "vkd_a" / "seed-0", tmp_path / "study" / "vkd_b" / "seed-0"
    assert sorted(path.name for path in first.iterdir()) == ["results.json", "student", "teacher"]
    assert sorted(path.name for path in second.iterdir()) == ["results.json", "student", "student-2", "teacher"]
    table = json.loads((tmp_path / "study" / "table.json").read_text())
    ways = [f"{way}, {kind} to video" for way in ("infrared to visible", "visible to infrared")
            for kind in ("image", "video")]  # fmt: skip
    assert table["columns"] == [[way, "mAP"] for way in ways]
    for row, run in zip(table["rows"], (first / "student", second / "student-2"), strict=True):
        expected = score_spaces(open_run(Path("study") / run.relative_to(tmp_path / "study")))
        assert {way: row["figures"][way]["mAP"] for way in ways} == {way: [expected[way].mAP] for way in ways}
        steps = [json.loads(line)["step"] for folder in run.parent.iterdir() if folder.is_dir()
                 for line in (folder / "metrics.jsonl").read_text().splitlines()[-1:]]  # fmt: skip
        assert json.loads((run.parent / "results.json").read_text())["steps"] == sum(steps)
    assert max(map(len, result.output.splitlines())) <= 80

    loaded = {name: load_recipe(tmp_path / f"{name}.yaml") for name in ("vkd_a", "vkd_b")}
    other = {"vkd_a": loaded["vkd_b"], "vkd_b": loaded["vkd_b"]}  # more generations than the runs that are there
    with pytest.raises(StudyError, match="seed-0 is a run of another recipe"):
        run_study(loaded["vkd_b"], recipes_study(other), Path("study"), seeds=[0])
    fewer = {"vkd_a": loaded["vkd_a"], "vkd_b": loaded["vkd_a"]}
    with pytest.raises(StudyError, match="vkd_b/seed-0 is a run of another recipe"):
        run_study(loaded["vkd_a"], recipes_study(fewer), Path("study"), seeds=[0])
