from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossreid.methods.variational_distillation import SETTINGS
from crossreid.runs.recipe import RecipeError, load_recipe, make_recipe
from crossreid.runs.shipped import SHIPPED

RECIPES = sorted(SHIPPED.glob("*.yaml"))
SMALLEST = {"data": {"name": "manifest", "root": "images"}, "method": {"name": "baseline"}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_it_costs(path):
    recipe = load_recipe(path)
    text = path.read_text(encoding="utf-8")
    assert f"crossreid train {path.stem}" in text, "its command"
    assert "# Hardware:" in text
    assert "Published" in text
    assert make_recipe(yaml.safe_load(recipe.as_yaml())) == recipe


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dataset", ["sysu-mm01", "regdb", "llcm"])
def test_every_data_set_has_every_setting(dataset, setting):
    suffix = "" if setting == "crossreid" else f"_{setting}"
    assert load_recipe(SHIPPED / f"vd_{dataset}{suffix}.yaml").method.setting == setting


def test_missing_sections_and_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match="'method' is required"):
        make_recipe({"data": SMALLEST["data"]})
    with pytest.raises(RecipeError, match="expected a mapping"):
        make_recipe(["data"])
    with pytest.raises(RecipeError, match="not found"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("data: [1")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(tmp_path / "broken.yaml")


@given(setting=st.sampled_from(sorted(SETTINGS)), weight=st.floats(0, 100))
def test_a_given_key_overrides_its_setting(setting, weight):
    method = {
        "name": "variational_distillation",
        "setting": setting,
        "mutual_weight": weight,
        "backbone": {"name": "x"},
    }
    recipe = make_recipe({**SMALLEST, "method": method})
    assert recipe.method.mutual_weight == weight
    assert recipe.method.backbone.name == "x"
    assert recipe.method.backbone.stage_attention == (setting == "official")
    assert recipe.method.routing == SETTINGS[setting]["routing"]


def test_start_from_is_found_under_training_too():
    said = make_recipe({**SMALLEST, "training": {"start_from": "runs/people", "epochs": 3}})
    assert said == make_recipe({**SMALLEST, "start_from": "runs/people", "training": {"epochs": 3}})
    assert make_recipe(SMALLEST, ["training.start_from=runs/people"]).start_from == Path("runs/people")
    with pytest.raises(RecipeError, match="are the same key: expected one of them"):
        make_recipe({**SMALLEST, "start_from": "one", "training": {"start_from": "other"}})
