import pytest

from crossreid.runs.recipe import RecipeError, make_recipe

SMALLEST = {"data": {"name": "manifest", "root": "images"}, "method": {"name": "baseline"}}


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
        ("data.augment.rectangle.area=[3, 4]", "key 'data.augment.rectangle': area is [3.0, 4.0], expected two shares"),
        ("evaluation.unit_length=false", "recipe: key 'evaluation': unit_length=false: cosine distance does not"),
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


def test_the_name_of_a_method_is_one_that_is_registered():
    for method in ({}, {"margin": 0.3}, {"name": 3}, {"name": "idkl"}):
        with pytest.raises(RecipeError, match=r"key 'method\.name': expected one of agw, baseline"):
            make_recipe({**SMALLEST, "method": method})
    with pytest.raises(RecipeError, match="key 'method': Input should be a valid dictionary"):
        make_recipe({**SMALLEST, "method": "baseline"})


def test_every_fault_of_a_method_is_named_where_it_is():
    method = {"name": "agw", "stages": {"stem": 1}, "backbone": {"weights": 3}, "triplet_weight": -1}
    with pytest.raises(RecipeError) as error:
        make_recipe({**SMALLEST, "method": method})
    told = str(error.value).splitlines()
    assert len(told) == 3
    assert any("unknown key 'method.stages.stem'. Did you mean 'method.stages.stems'?" in line for line in told)
    assert any("key 'method.backbone.weights'" in line for line in told)
    assert any("key 'method.triplet_weight'" in line for line in told)
