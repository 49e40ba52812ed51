"""Several data sets in a recipe: what is written, what is kept, what is refused; and their splits joined."""

from pathlib import Path

import pytest

from crossreid.data.joined import joined
from crossreid.data.records import INFRARED, VISIBLE, Record, Split, labels_of
from crossreid.runs.recipe import RecipeError, make_recipe
from crossreid.training.changes import changes_between, is_among

METHOD = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
DAY = {"name": "manifest", "root": "data/day", "height": 64, "sampler": {"identities": 4}}
NIGHT = {"name": "manifest", "root": "data/night", "weight": 2, "levels": "picture"}


def recipe_of(data, *overrides):
    return make_recipe({"data": data, "method": METHOD}, overrides)


def test_a_list_of_sections_and_one_section_with_sources_are_the_same_recipe():
    listed = recipe_of([DAY, NIGHT])
    common = {"height": 64, "sampler": {"identities": 4}}
    sources = [{"called": "day", "name": "manifest", "root": "data/day"}, {"called": "night", **NIGHT}]
    assert listed == recipe_of({**common, "sources": sources})
    kept = listed.model_dump(mode="json")
    assert not {"name", "root", "options"} & kept["data"].keys()
    assert make_recipe(kept) == listed
    night = listed.data.of_source("night")
    assert (night.root, night.levels, night.height, night.sources) == (Path("data/night"), "picture", 64, ())
    assert listed.data.of_source("day").levels == "full"


def test_a_recipe_of_one_data_set_is_kept_without_a_word_of_sources():
    kept = recipe_of(DAY).model_dump(mode="json")
    assert not {"sources", "mixing"} & kept["data"].keys()
    assert not {"domain_norm", "domains", "tested_as"} & kept["method"]["backbone"].keys()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "empty list"),
        ([DAY, {**NIGHT, "height": 65}], r"data.height is 64 for one data set and 65 for another"),
        ([DAY, {**NIGHT, "sampler": {"identities": 5}}], r"data.sampler.identities is 4"),
        ([DAY, {**NIGHT, "root": "elsewhere/day"}], "two sources are called 'day'"),
        ([DAY, {**NIGHT, "called": "mean"}], "not 'mean'"),
        ([DAY, {**NIGHT, "called": "../night"}], "letters, digits"),
        ({**DAY, "sources": [NIGHT]}, "beside name, root or options"),
        ([DAY, {"name": "manifest"}], r"data.sources.1.root' is required"),
        ([DAY, {**NIGHT, "weight": 0}], r"data.sources.1.weight"),
        ({"height": 64, "sources": 3}, "data.sources"),
        ({"height": 64, "sources": [3]}, "data.sources.0"),
        ({"height": 64, "sources": [{**NIGHT, "wieght": 3}]}, "Did you mean 'data.sources.0.weight'"),
        ([3], "expected a section with name and root"),
        ([{**DAY, "sampler": {"epoch": "pairs"}}, NIGHT], "pairs, which works with one data set"),
        ([{**DAY, "augment": {"channels": {"grey": 0.5}}}, {**NIGHT, "normalise": {"mean": [0, 0, 0], "std": [1, 1, 1]}}],
         "with one normalisation"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(data, said):
    with pytest.raises(RecipeError, match=said):
        recipe_of(data)


def test_overrides_name_a_source_by_what_it_is_called_or_by_its_position():
    recipe = recipe_of([DAY, NIGHT], "data.sources.night.weight=5", "data.sources.0.options.seed=3", "data.width=48")
    assert [source.weight for source in recipe.data.sources] == [1, 5]
    assert recipe.data.sources[0].options == {"seed": 3}
    assert recipe.data.width == 48
    with pytest.raises(RecipeError, match="'dusk' is not one of day, night"):
        recipe_of([DAY, NIGHT], "data.sources.dusk.weight=5")


def test_a_source_that_moved_is_no_other_recipe_and_one_of_another_weight_is():
    before = recipe_of([DAY, NIGHT]).model_dump(mode="json")
    moved = recipe_of([DAY, NIGHT], "data.sources.night.root=/mnt/night").model_dump(mode="json")
    (change,) = changes_between(before, moved)
    assert change.key == "data.sources.night.root"
    assert is_among(change.key, ("data.root",))
    (change,) = changes_between(before, recipe_of([DAY, NIGHT], "data.sources.night.weight=1").model_dump(mode="json"))
    assert not is_among(change.key, ("data.root",))


def test_norms_by_domain_are_of_the_sources_in_their_order():
    given = {**METHOD, "backbone": {**METHOD["backbone"], "domain_norm": "all"}}
    recipe = make_recipe({"data": [DAY, NIGHT], "method": given})
    assert recipe.method.backbone.domains == ("day", "night")
    kept = recipe.model_dump(mode="json")
    kept["data"]["sources"].reverse()
    with pytest.raises(RecipeError, match="domains are day, night, but the sources of data are night, day"):
        make_recipe(kept)


def record(identity, camera, modality=VISIBLE):
    return Record(Path(f"{identity}-{camera}.png"), identity, camera, modality)


def test_identities_and_cameras_of_two_data_sets_are_kept_apart():
    def split(name, cameras, protocol):
        train = tuple(record("7", camera) for camera in cameras)
        return Split(
            name, Path(name), protocol, train, (record("8", cameras[0], INFRARED),), (record("8", cameras[-1]),)
        )

    both = joined({"a": split("a", (1, 6), "market-1501"), "b": split("b", (0, 2), "cross-modal")}, Path())
    assert labels_of(both.train) == {"a:7": 0, "b:7": 1}
    assert [(one.identity, one.camera, one.source) for one in both.train] == [
        ("a:7", 1, "a"), ("a:7", 6, "a"), ("b:7", 0, "b"), ("b:7", 8, "b"),
    ]  # fmt: skip
    assert [name for name, _ in both.sources] == ["a", "b"]
    assert [one.identity for one in dict(both.sources)["b"].query] == ["8"]  # by itself as it was
