"""Losses that a recipe adds: what is refused, what is computed, and what it is called in the log."""

from typing import Annotated

import pytest
import torch
from pydantic import Field

from crossreid.errors import CrossreidError
from crossreid.losses.metric import modality_aware_ranking_loss, triplet_loss, weighted_triplet_loss
from crossreid.losses.weighing import LOSSES, AddedLosses, is_state_of_losses, register_loss, weighted_losses
from crossreid.methods import METHODS, Batch, build_method
from crossreid.runs.recipe import RecipeError, make_recipe

BACKBONE = {"name": "test_resnet", "weights": "none"}
METHODS_THAT_ADD = [name for name, method in METHODS.items() if "losses" in method.options.model_fields]


@pytest.fixture
def registered(monkeypatch):
    """Register losses that are gone after the test."""
    LOSSES.load()
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._entries))
    return register_loss


def recipe_of(losses, method="baseline"):
    backbone = {**BACKBONE, "non_local": [0, 1, 1, 0]} if method == "agw" else BACKBONE
    backbone = {**BACKBONE, "name": "test_vit"} if method == "transreid" else backbone
    data = {"name": "manifest", "root": "images", "height": 48, "width": 32}
    return make_recipe({"data": data, "method": {"name": method, "backbone": backbone, "losses": losses}})


def batch_of(sets=False):
    generator = torch.Generator().manual_seed(0)
    labels, modalities = torch.arange(4).repeat_interleave(2), torch.arange(8) % 2
    images = torch.randn(8, 3, 48, 32, generator=generator)
    return Batch(images, labels, modalities, torch.zeros_like(labels))


def test_terms_are_the_losses_by_name_and_weight():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    labels, modalities = batch_of()[1:3]
    weights = {"weighted_triplet": 0.5, "triplet": {"weight": 2.0, "margin": 0.3}, "modality_aware_ranking": {}}
    found = weighted_losses(weights, features, labels, modalities, taken=("identity", "triplet"))
    assert found == {
        "weighted_triplet": 0.5 * weighted_triplet_loss(features, labels),
        "losses.triplet": 2 * triplet_loss(features, labels, margin=0.3),
        "modality_aware_ranking": modality_aware_ranking_loss(features, labels, modalities),
    }


@pytest.mark.parametrize("name", METHODS_THAT_ADD)
def test_a_method_adds_what_the_recipe_says_and_nothing_without(name):
    def terms(losses):
        torch.manual_seed(0)
        method = build_method(recipe_of(losses, name).method, 4).train()
        torch.manual_seed(1)
        return method.losses(batch_of())

    plain, more = terms({}), terms({"weighted_triplet": 0.5})
    assert more.keys() - plain.keys() == {"weighted_triplet"}
    assert all(torch.equal(plain[key], more[key]) for key in plain)
    assert more["weighted_triplet"] > 0
    twice = terms({"weighted_triplet": {"weight": 1}})
    torch.testing.assert_close(twice["weighted_triplet"], 2 * more["weighted_triplet"])


def test_methods_of_one_vector_an_image_or_set_can_add():
    assert {"baseline", "agw", "implicit_knowledge", "transreid", "view_distillation"} <= set(METHODS_THAT_ADD)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ({"triplett": 1}, "Did you mean 'triplet'"),
        ({"triplet": {"margn": 0.3}}, "option 'margn' is unknown. Did you mean 'margin'"),
        ({"triplet": {"margin": "wide"}}, "loss 'triplet': option 'margin'"),
        ({"triplet": -1}, "loss 'triplet': option 'weight'"),
        ({"weighted_triplet": {"margin": 1}}, "Known: weight"),
        (
            {"triplet": "much"},
            "loss 'triplet': expected a weight, or a mapping of `weight` and options of the loss, found 'much'",
        ),
        ({"triplet": float("nan")}, "loss 'triplet': expected a weight"),
        (["triplet"], "method.losses"),
    ],
)
def test_what_cannot_be_added_is_refused_before_training(losses, told):
    with pytest.raises(RecipeError) as error:
        recipe_of(losses)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_sets_have_no_one_modality():
    with pytest.raises(RecipeError, match="'modality_aware_ranking' compares modalities"):
        recipe_of({"modality_aware_ranking": 1}, "view_distillation")


def test_a_recipe_keeps_what_it_says():
    losses = {"triplet": {"margin": 0.5}, "weighted_triplet": 1.0}
    assert recipe_of(losses).model_dump(mode="json")["method"]["losses"] == losses
    ranking = {"modality_aware_ranking": {"same": [2.0, 1.0]}}
    assert recipe_of(ranking).model_dump(mode="json")["method"]["losses"] == ranking


def test_the_options_of_a_loss_are_its_keyword_parameters(registered):
    @registered("spread")
    def spread(features, labels, *, power: Annotated[float, Field(gt=0)] = 1.0, floor: int):
        return features.abs().pow(power).mean() + floor

    assert recipe_of({"spread": {"floor": "3"}}).method.losses == {"spread": {"floor": 3}}
    found = weighted_losses({"spread": {"floor": 3, "power": 2}}, torch.full((2, 2), 2.0), torch.zeros(2))
    assert found["spread"] == 7
    for options, told in (({}, "'floor'"), ({"floor": 1, "power": 0}, "greater than 0")):
        with pytest.raises(RecipeError, match=told):
            recipe_of({"spread": options})


def test_a_loss_of_something_else_cannot_be_weighed(registered):
    registered("of_logits")(lambda p_logits, q_logits: p_logits.sum())
    with pytest.raises(RecipeError, match=r"takes \(p_logits, q_logits\)"):
        recipe_of({"of_logits": 1})


class Prototypes(torch.nn.Module):
    """A loss with parameters: cross-entropy of the products with a vector of each identity."""

    def __init__(self, width: int, classes: int, *, scale: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.scale, self.weight = scale, torch.nn.Parameter(torch.zeros(classes, width))

    def forward(self, features, labels):
        return torch.nn.functional.cross_entropy(self.scale * features @ self.weight.T, labels)


def test_a_loss_with_parameters_is_a_part_of_its_method(registered):
    registered("prototypes")(Prototypes)
    recipe = recipe_of({"prototypes": {"weight": 0.5, "scale": "2"}})
    assert recipe.method.losses == {"prototypes": {"weight": 0.5, "scale": 2.0}}
    method = build_method(recipe.method, 4)
    assert method.state_dict()["added_losses.prototypes.weight"].shape == (4, method.encoder.width)
    term = method.losses(batch_of())["prototypes"]
    assert term.item() == pytest.approx(0.5 * torch.tensor(4.0).log().item())
    term.backward()
    assert method.added_losses.prototypes.weight.grad.abs().sum() > 0
    assert [name for name in method.state_dict() if is_state_of_losses(name)] == ["added_losses.prototypes.weight"]


@pytest.mark.parametrize("name", METHODS_THAT_ADD)
def test_losses_without_a_state_leave_no_tensor_in_a_method(name):
    plain = build_method(recipe_of({}, name).method, 4).state_dict().keys()
    assert build_method(recipe_of({"circle": 1.0}, name).method, 4).state_dict().keys() == plain
    with_state = build_method(recipe_of({"centre": 1.0}, name).method, 4).state_dict().keys()
    assert with_state - plain == {"added_losses.centre.centres", "added_losses.centre.seen"}


def test_a_loss_with_a_state_is_refused_where_nothing_keeps_it(registered):
    with pytest.raises(CrossreidError, match="'centre' has its own state, which this method does not store"):
        weighted_losses({"centre": 1.0}, torch.ones(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(CrossreidError, match="'centre' keeps a state as wide as the features"):
        AddedLosses({"centre": 1.0}, None, 4)
    with pytest.raises(RecipeError, match="option 'rate'"):
        recipe_of({"centre": {"rate": 0}})

    @registered("unmade")
    class Unmade(torch.nn.Module):
        def __init__(self, size):
            super().__init__()

        def forward(self, features, labels):
            return features.sum()

    with pytest.raises(RecipeError, match=r"constructed with \(size\). Expected \(width, classes\)"):
        recipe_of({"unmade": 1.0})


def test_modules_that_compare_modalities_are_known_by_their_forward(registered):
    @registered("apart")
    class Apart(Prototypes):
        def forward(self, features, labels, modalities):
            return (features.sum(1) * modalities).sum()

    added = AddedLosses({"apart": 2.0}, 3, 4)
    found = added(torch.ones(2, 3), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]), taken=("apart",))
    assert found == {"losses.apart": torch.tensor(6.0)}
    with pytest.raises(RecipeError, match="'apart' compares modalities"):
        recipe_of({"apart": 1.0}, "view_distillation")


@pytest.mark.parametrize("kind", ["pooled", "unit", "neck"])
@pytest.mark.parametrize("name", ["baseline", "agw"])
def test_a_recipe_says_which_features_are_compared(name, kind):
    recipe = recipe_of({"weighted_triplet": 1.0}, name)
    method = build_method(recipe.method.model_copy(update={"losses_features": kind}), 4).eval()
    batch = batch_of()
    term = method.losses(batch)["weighted_triplet"]
    images = (batch.images,) if name == "baseline" else (batch.images, batch.modalities)
    pooled = method.encoder.pool(*images) if name == "baseline" else method.pool(*images)
    neck = method.encoder.neck if name == "baseline" else method.neck
    features = neck(pooled) if kind == "neck" else pooled
    features = features if kind == "pooled" else features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(term, weighted_triplet_loss(features, batch.labels))
