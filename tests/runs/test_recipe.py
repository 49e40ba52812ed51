from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossreid.methods.variational_distillation import SETTINGS
from crossreid.runs.recipe import RecipeError, keys, load_recipe, make_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SMALLEST = {"data": {"name": "manifest", "root": "images"}, "method": {"name": "baseline"}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_it_costs(path):
    recipe = load_recipe(path)
    text = path.read_text(encoding="utf-8")
    assert f"recipes/{path.name}" in text, "its command"
    assert "# Hardware:" in text
    assert "Published" in text
    assert make_recipe(yaml.safe_load(recipe.as_yaml())) == recipe


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dataset", ["sysu-mm01", "regdb", "llcm"])
def test_every_data_set_has_every_setting(dataset, setting):
    suffix = "" if setting == "crossreid" else f"_{setting}"
    assert load_recipe(ROOT / "recipes" / f"vd_{dataset}{suffix}.yaml").method.setting == setting


def test_override_reads_numbers_as_a_person_means_them():
    recipe = make_recipe(SMALLEST, ["training.optimiser.lr=1e-4", "data.height=128", "method.margin=null"])
    assert recipe.training.optimiser.lr == 1e-4
    assert recipe.data.height == 128
    assert recipe.method.margin is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.optimizer.lr=1", "Did you mean 'training.optimiser'"),
        ("training.optimiser.learning_rate=1", "Known there"),
        ("training.optimiser.lr=-1", "training.optimiser.lr"),
        ("training.optimiser.lr=fast", "found 'fast'"),
        ("method.name=variational_destillation", "variational_distillation"),
        ("method.setting=offical", "unknown key 'method.setting'"),
        ("data.sampler.images=3", "even number"),
        ("data.augment.flip=1.5", "data.augment.flip"),
        ("data.on_bad_image=skipp", "Did you mean 'skip'"),
        ("nonsense", "KEY=VALUE"),
        ("data.height.of=3", "no keys of its own"),
    ],
)
def test_what_is_wrong_is_named(override, told):
    recipe = {**SMALLEST, "data": {**SMALLEST["data"], "height": 128}}
    with pytest.raises(RecipeError) as error:
        make_recipe(recipe, [override])
    assert told in str(error.value)


def test_missing_sections_and_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match="'method' is required"):
        make_recipe({"data": SMALLEST["data"]})
    with pytest.raises(RecipeError, match="expected a mapping"):
        make_recipe(["data"])
    with pytest.raises(RecipeError, match="not found"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("data: [1")
    with pytest.raises(RecipeError, match="no valid YAML"):
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


def test_every_key_is_described():
    rows = list(keys())
    assert len(rows) > 60
    assert [key for key, _, _, description in rows if not description] == []
