"""The network of each setting in MindSpore against torch's: what it sees, says, loses, and which way it would go.

Gradients are compared a parameter at a time: the norm of the difference is at most 1e-3 of the norm of torch's, plus 1e-6 of
the largest norm of any parameter's. The latter is for biases before a batch norm, whose gradient is 0 but for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("mindspore.ops")  # this folder, too, goes by the name of the package alone

import mindspore
import torch

from crossreid.errors import CrossreidError
from crossreid.methods.three_branch import Branch
from crossreid.mindspore.resnet import network_of
from crossreid.mindspore.weights import torch_state
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from mindspore_pairs import Drawn, Pair, batch_of, pair_of, recipe_of

RECIPES: dict[str, dict[str, Any]] = {
    "crossreid": {"setting": "crossreid"},
    "paper": {"setting": "paper", "backbone": {"name": "test_resnet"}},
    "official": {"setting": "official", "backbone": {"name": "test_resnet", "stage_attention": True}},
}
PARTS = ("v", "z", "v_logits", "z_logits")


class Step(NamedTuple):
    """What both made of one batch in training, and the state in which it left them."""

    terms: tuple[dict[str, float], dict[str, float]]
    gradients: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    states: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def state_of_torch(pair: Pair) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in pair.torch.state_dict().items()}


def step_of(pair: Pair, batch: Drawn) -> Step:
    pair.train()
    pair.draw_alike(3)
    pair.torch.zero_grad()
    wanted = pair.torch.losses(batch.for_torch())
    torch.stack(list(wanted.values())).sum().backward()
    gradients = {name: p.grad.numpy() for name, p in pair.torch.named_parameters() if p.grad is not None}
    images, labels, modalities = batch.for_mindspore()
    parameters = pair.mindspore.trainable_params()

    def total(given: Any) -> Any:
        terms = pair.mindspore.losses(given, labels, modalities)
        return sum(terms.values()), terms

    (_, found), moved = mindspore.value_and_grad(total, None, parameters, has_aux=True)(images)
    return Step(
        ({k: float(v.detach()) for k, v in wanted.items()}, {k: float(v.asnumpy()) for k, v in found.items()}),
        (gradients, {p.name: g.asnumpy() for p, g in zip(parameters, moved, strict=True)}),
        (state_of_torch(pair), torch_state(pair.mindspore)),
    )


def assert_gradients_agree(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    assert wanted.keys() == found.keys()
    largest = max(np.linalg.norm(gradient) for gradient in wanted.values())
    apart = {name: np.linalg.norm(found[name] - gradient) for name, gradient in wanted.items()}
    bad = {n: d for n, d in apart.items() if d > 1e-3 * np.linalg.norm(wanted[n]) + 1e-6 * largest}
    assert not bad


@pytest.fixture(scope="module", params=RECIPES)
def pair(request: pytest.FixtureRequest) -> Pair:
    return pair_of(recipe_of(**RECIPES[request.param]))


@pytest.fixture(scope="module")
def step(pair: Pair) -> Step:
    return step_of(pair, batch_of(3, 4, size=(48, 32)))


def test_terms_agree(step: Step) -> None:
    wanted, found = step.terms
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_gradients_agree(step: Step) -> None:
    assert_gradients_agree(*step.gradients)


def test_statistics_after_a_step_agree(step: Step) -> None:
    wanted, found = step.states
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_fixed_shift_of_the_neck_gets_no_gradient(step: Step) -> None:
    for gradients in step.gradients:
        assert not [name for name in gradients if name.endswith("neck.bias")]


@pytest.mark.parametrize("mode", [False, True], ids=["testing", "training"])
def test_streams_agree(pair: Pair, mode: bool) -> None:
    batch = batch_of(3, 4, size=(64, 32), seed=2)
    pair.train(mode)
    pair.draw_alike(5)
    seen = batch.for_torch()
    with torch.no_grad():
        wanted = pair.torch._pass(seen.images, seen.modalities, Branch.__call__)
    images, _, modalities = batch.for_mindspore()
    found = pair.mindspore.streams(images, modalities)
    assert found.keys() == wanted.keys()
    for name, stream in found.items():
        for part, value in zip(PARTS, wanted[name], strict=True):
            given = getattr(stream, part).asnumpy()
            np.testing.assert_allclose(given, value.numpy(), rtol=1e-4, atol=1e-4, err_msg=f"{name} {part}")


@pytest.mark.parametrize("only", [None, 0, 1], ids=["both modalities", "visible", "infrared"])
def test_embeddings_agree(pair: Pair, only: int | None) -> None:
    batch = batch_of(3, 2, seed=4)
    rows = slice(None) if only is None else batch.modalities == only
    chosen = Drawn(batch.images[rows], batch.labels[rows], batch.modalities[rows])
    pair.train(False)
    seen = chosen.for_torch()
    with torch.no_grad():
        wanted = pair.torch.embed(seen.images, seen.modalities).numpy()
    found = pair.mindspore.embed(*chosen.for_mindspore()[::2]).asnumpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


CHOICES: dict[str, dict[str, Any]] = {
    "specific branches": {"branches": "specific", "test_features": "representation", "temperature": 2.0},
    "shared branch": {"branches": "shared", "divergence": "release", "label_smoothing": 0.0},
    "sinkhorn by modality": {"mutual": "sinkhorn", "ranking": "release", "consistency": "cross_only"},
    "all routes": {"routing": "all", "grey": "image", "ranking_same": (1.5, 0.4), "test_features": "both"},
    "official, both": {"setting": "official", "backbone": {"name": "test_resnet"}, "mutual_of": "both", "mutual": "kl"},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_terms_and_embeddings_agree_whatever_a_recipe_chooses(choice: str) -> None:
    pair = pair_of(recipe_of(**CHOICES[choice]), classes=4, seed=1)
    batch = batch_of(2, 4, size=(32, 32), seed=1)
    pair.train()
    pair.draw_alike(1)
    with torch.no_grad():
        wanted = {name: float(term) for name, term in pair.torch.losses(batch.for_torch()).items()}
    found = {name: float(term.asnumpy()) for name, term in pair.mindspore.losses(*batch.for_mindspore()).items()}
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    pair.train(False)
    seen = batch.for_torch()
    with torch.no_grad():
        embedded = pair.torch.embed(seen.images, seen.modalities).numpy()
    np.testing.assert_allclose(pair.mindspore.embed(*batch.for_mindspore()[::2]).asnumpy(), embedded, atol=1e-5)


def test_batches_that_cannot_be_learned_from_are_refused() -> None:
    pair = pair_of(recipe_of())
    pair.train()
    batch = batch_of(2, 4, size=(32, 16))
    images, labels, modalities = batch.for_mindspore()
    with pytest.raises(CrossreidError, match="no identity in both modalities"):
        pair.mindspore.losses(images, batch.modalities.copy(), modalities)
    one = (np.arange(8) == 3).astype(np.int64)
    with pytest.raises(CrossreidError, match="one image of a modality"):
        pair.mindspore.losses(images, labels, one)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet10t", {}),
        ("resnet18", {"last_stride_one": False, "last_activation": False}),
        ("resnet50", {}),
    ],
)
def test_maps_gradients_and_statistics_of_backbones_agree(name: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Backbone(BackboneOptions(name=name, weights="none", **changes)).network
    cell = network_of(network, name)
    network.train()
    cell.set_train()
    images = np.random.default_rng(0).normal(size=(4, 3, 64, 32)).astype(np.float32)
    wanted = network.forward_features(torch.from_numpy(images))
    wanted.square().mean().backward()
    given = {n: p.grad.numpy() for n, p in network.named_parameters() if p.grad is not None}
    parameters = cell.trainable_params()

    def squared(seen: Any) -> Any:
        maps = cell(seen)
        return (maps * maps).mean(), maps

    (_, maps), moved = mindspore.value_and_grad(squared, None, parameters, has_aux=True)(mindspore.Tensor(images))
    np.testing.assert_allclose(maps.asnumpy(), wanted.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert_gradients_agree(given, {p.name: g.asnumpy() for p, g in zip(parameters, moved, strict=True)})
    kept = {n: p.asnumpy() for n, p in cell.parameters_and_names()}
    for key, value in network.state_dict().items():
        np.testing.assert_allclose(kept[key], value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)
