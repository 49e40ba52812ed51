"""What the studies of two-stream networks compare, and one that is run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.reporting.study_plot import draw_study
from crossreid.reporting.study_table import markdown_table
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe
from crossreid.studies.idkl import idkl_study, lambda_study, named, recipes_study, term_recipe
from forked import fork_runs

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
BASE = load_recipe(RECIPES / "idkl_synthetic.yaml")
OTHERS = [RECIPES / f"{name}_synthetic.yaml" for name in ("baseline", "agw", "idkl", "vd", "vd_two-stream")]


def method_of(study, key):
    cell = next(cell for cell in study.cells if cell.key == key)
    recipe = study.recipe(BASE, cell, 4, Path("out"))
    assert recipe.training.seed == 4
    assert recipe.data == BASE.data
    return recipe.method


def test_terms_come_one_after_another():
    study = idkl_study()
    keys = ("purifier", "relation_weight", "class_weight", "discrepancy_weight")
    on = [[bool(getattr(method_of(study, key), k)) for k in keys] for key in ("base", "purifier", "tgsa", "csa", "mdr")]
    assert on == [[place < count for place in range(4)] for count in range(5)]
    assert method_of(study, "mdr") == BASE.method
    assert method_of(study, "no-confuser").confuser == "none"
    assert method_of(study, "pseudo-labels") == BASE.method.model_copy(update={"confuser": "pseudo_labels"})
    with pytest.raises(RecipeError, match="Expected implicit_knowledge"):
        term_recipe(load_recipe(RECIPES / "agw_synthetic.yaml"), study.cells[0], 0, Path("out"))


def test_each_weight_moves_alone_and_the_reference_is_the_recipe():
    study = lambda_study()
    for cell in study.cells:
        method = method_of(study, cell.key)
        (key,) = cell.changes
        assert getattr(method, key) == cell.place
        assert method.model_copy(update={key: getattr(BASE.method, key)}) == BASE.method
    assert method_of(study, study.reference) == BASE.method


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
    with pytest.raises(RecipeError, match="two recipes or more"):
        recipes_study({"a": BASE})
    with pytest.raises(RecipeError, match="same name"):
        named([Path("a/x.yaml"), Path("b/x.yaml")])


@pytest.mark.slow
def test_recipes_are_run_side_by_side_not_re_ranked_and_re_ranked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fork_runs(monkeypatch)
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
