"""What a method's streams are, image by image, whatever the batches."""

import numpy as np
import pytest
import torch

from crossreid.data.records import in_order
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.embedding import EvaluationOptions, embed, embed_sets, observe
from crossreid.methods import METHODS, build_method
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_split
from crossreid.runs.scoring import space_features, stream_features

BACKBONE = {"name": "test_resnet", "weights": "none"}
SIZE = {"height": 32, "width": 16}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    world = tmp_path_factory.mktemp("embedding") / "world"
    synthesise(world, "sysu-mm01", 8, 0, images_per_camera=1, size=(32, 16), workers=1)
    return open_split(make_recipe({"data": {"name": "sysu-mm01", "root": str(world)}, "method": {"name": "baseline"}}))


def method_of(name, **given):
    torch.manual_seed(0)
    return build_method(METHODS[name].options(backbone=BACKBONE, **given), 4).eval()


def test_streams_do_not_depend_on_batches(split):
    method = method_of("variational_distillation")
    whole = observe(method, split.test, **SIZE)
    parts = observe(method, split.test, options=EvaluationOptions(batch=5), **SIZE)
    assert set(whole) == {"specific", "shared"}
    for name, (v, z) in whole.items():
        assert len(v) == len(z) == len(split.test)
        np.testing.assert_allclose(parts[name][0], v, atol=1e-5)
        np.testing.assert_allclose(parts[name][1], z, atol=1e-5)


def test_a_random_z_is_the_same_each_time_and_costs_the_caller_no_randomness(split):
    method = method_of("variational_information_bottleneck")
    state = torch.random.get_rng_state()
    first, second = observe(method, split.test, **SIZE), observe(method, split.test, **SIZE)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first["shared"][1], second["shared"][1])
    tested = observe(method, split.test, tested=True, **SIZE)
    assert not np.allclose(tested["shared"][1], first["shared"][1])
    np.testing.assert_array_equal(tested["shared"][0], first["shared"][0])


@pytest.mark.parametrize("features", ["observation", "representation", "both"])
@pytest.mark.parametrize("name", ["variational_distillation", "variational_information_bottleneck"])
def test_spaces_are_the_test_features_that_a_recipe_chooses_among(split, name, features):
    method = method_of(name, test_features=features)
    given = {"name": name, "backbone": BACKBONE}
    recipe = make_recipe(
        {"data": {"name": "sysu-mm01", "root": str(split.root), **SIZE, "workers": 0}, "method": given}
    )
    spaces = space_features(method, split, recipe)
    space = {"observation": "v", "representation": "z", "both": "both"}[features]
    expected = embed(method, split.test, **SIZE)
    np.testing.assert_allclose(spaces[space].embeddings, expected, atol=1e-5)
    streams = stream_features(method, split, recipe)
    assert [r.path.as_posix() for r in in_order(split.test)] == streams["shared"][0].names.tolist()


def test_a_method_without_branches_is_refused(split):
    with pytest.raises(ValueError, match="has no branches to observe; expected variational_distillation"):
        observe(method_of("baseline"), split.test, **SIZE)


@pytest.mark.parametrize("flip", [False, True])
def test_without_unit_length_embeddings_are_the_features_as_they_are(split, flip):
    method = method_of("implicit_knowledge")
    options = EvaluationOptions(metric="euclidean", unit_length=False, flip=flip)
    raw = embed(method, split.test, options=options, **SIZE)
    unit = embed(method, split.test, options=EvaluationOptions(), **SIZE)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1
    if not flip:
        np.testing.assert_allclose(raw / lengths, unit, atol=1e-6)
    sets = [split.test[:2], split.test[2:5]]
    found = embed_sets(method, sets, options=options, **SIZE)
    np.testing.assert_allclose(found, [raw[:2].mean(0), raw[2:5].mean(0)], atol=1e-5)


def test_cosine_has_no_use_for_length():
    with pytest.raises(ValueError, match="unit_length=false"):
        EvaluationOptions(unit_length=False)
