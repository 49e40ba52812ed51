import pytest

from crossreid.runs.overrides import apply_override, reader_options
from crossreid.runs.recipe import RecipeError, make_recipe

SMALLEST = {"data": {"name": "manifest", "root": "images"}, "method": {"name": "baseline"}}


def test_override_reads_numbers_as_a_person_means_them():
    recipe = make_recipe(SMALLEST, ["training.optimiser.lr=1e-4", "data.height=128", "method.margin=null"])
    assert recipe.training.optimiser.lr == 1e-4
    assert recipe.data.height == 128
    assert recipe.method.margin is None


def test_readers_take_the_same_pairs():
    assert reader_options(["validation=3", "seed=1e-1", "of.what=[1, two]"]) == {
        "validation": 3,
        "seed": 0.1,
        "of": {"what": [1, "two"]},
    }


@pytest.mark.parametrize(
    ("override", "told"),
    [("nonsense", "KEY=VALUE"), ("=3", "KEY=VALUE"), ("a.b=1", "no keys of its own"), ("b=[", "not valid YAML")],
)
def test_what_is_no_override_is_refused(override, told):
    with pytest.raises(RecipeError, match=told):
        apply_override({"a": 3}, override)
