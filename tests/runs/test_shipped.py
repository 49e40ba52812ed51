"""Recipes of the package by their names: a file that is there comes first, and what is neither is answered by what is near."""

from pathlib import Path

import pytest

from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED, RecipeError, recipe_file, shipped_file, shipped_names, shipped_recipes


@pytest.mark.parametrize("given", ["vd_llcm", "vd_llcm.yaml", "recipes/vd_llcm", "recipes/vd_llcm.yaml"])
def test_a_name_is_that_of_a_recipe_wherever_the_command_runs(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_file(Path(given)) == SHIPPED / "vd_llcm.yaml"
    assert load_recipe(given) == load_recipe(SHIPPED / "vd_llcm.yaml")


@pytest.mark.parametrize("given", ["vd_llcm", "vd_llcm.yaml", "recipes/vd_llcm.yaml"])
def test_a_file_that_is_there_comes_first(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(given).parent.mkdir(exist_ok=True)
    text = (SHIPPED / "vd_llcm.yaml").read_text(encoding="utf-8").replace("root: data/LLCM", "root: elsewhere")
    Path(given).write_text(text, encoding="utf-8")
    assert load_recipe(given).data.root == Path("elsewhere")


def test_a_folder_is_no_recipe(tmp_path, monkeypatch):
    """`crossreid train vd_llcm --out vd_llcm` goes on with the same command."""
    monkeypatch.chdir(tmp_path)
    Path("vd_llcm").mkdir()
    assert recipe_file(Path("vd_llcm")) == SHIPPED / "vd_llcm.yaml"


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("vd_lcm", "vd_llcm, "),
        ("recipes/vd_lcm.yaml", "vd_llcm, "),
        ("mine/vd_llcm.yaml", "vd_llcm"),
        ("../recipes/vd_llcm", "vd_llcm"),
    ],
)
def test_what_is_no_recipe_is_answered_by_the_nearest(given, near, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as refused:
        load_recipe(Path(given))
    message = str(refused.value)
    assert message.startswith(f"recipe {given} not found. Expected a YAML file, or the name of a recipe")
    assert near in message.partition("Nearest: ")[2]
    assert "\n" not in message


def test_files_beside_the_one_that_is_missing_are_near_too(tmp_path):
    (tmp_path / "cattle.yaml").write_text("")
    with pytest.raises(RecipeError, match=r"Nearest: .*cattle\.yaml"):
        recipe_file(tmp_path / "catle.yaml")


@pytest.mark.parametrize("name", ["..", "", "/etc/hosts", "recipes/vd_llcm", "vd_*"])
def test_a_name_leads_nowhere_else(name):
    with pytest.raises(RecipeError, match="comes with crossreid"):
        shipped_file(name)


def test_each_is_described_as_its_keys_have_it():
    """The list reads the YAML alone, as loading each recipe would take seconds."""
    listed = {recipe.name: recipe for recipe in shipped_recipes()}
    assert sorted(listed) == shipped_names() == sorted(path.stem for path in SHIPPED.iterdir())
    for name, described in listed.items():
        recipe = load_recipe(name)
        sources = [source.name for source in recipe.data.sources] or [recipe.data.name]
        assert described.dataset.split("+") == list(dict.fromkeys(sources)), name
        assert described.method == recipe.method.name, name
        assert described.setting in (getattr(recipe.method, "setting", None), "default"), name
        assert described.about.endswith("."), name
        assert described.about in (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"), name


def test_only_those_of_a_data_set_and_a_method():
    found = shipped_recipes("llcm", "implicit_knowledge")
    assert [recipe.name for recipe in found] == ["idkl_llcm", "idkl_llcm_official", "idkl_llcm_paper"]
    assert "baseline_several_synthetic" in {recipe.name for recipe in shipped_recipes("llcm")}  # of two data sets
    with pytest.raises(RecipeError, match=r"the data set 'lcm'. Expected one of .*llcm"):
        shipped_recipes("lcm")
    with pytest.raises(RecipeError, match=r"the method 'agw'. Expected one of .*view_distillation"):
        shipped_recipes("mars", "agw")
