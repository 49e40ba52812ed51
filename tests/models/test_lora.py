"""Low-rank adaptation: what learns, what is the same without the package, and what is asked for without it."""

import sys
from importlib.util import find_spec

import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.methods import METHODS, build_method
from crossreid.models.lora import has_adapters, merged
from crossreid.training.optimisation import OptimiserOptions, make_optimiser
from small_backbone import IMAGES

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="no peft")  # whose import takes seconds
BACKBONE = {"name": "test_vit", "weights": "none", "last_stride_one": False}
LORA = {"rank": 2, "alpha": 4.0, "targets": ["qkv", "fc1"]}


def method_of(name="baseline", **backbone):
    torch.manual_seed(0)
    return build_method(METHODS[name].options(backbone={**BACKBONE, **backbone}), 2)


def stepped(method):
    """After two real steps, as the second matrix of an adapter starts at 0."""
    optimiser = make_optimiser(method.train(), OptimiserOptions(name="adamw", lr=1e-2))
    batch = Batch(torch.randn(4, 3, 64, 32), torch.tensor([0, 0, 1, 1]), torch.zeros(4).long(), torch.zeros(4).long())
    with torch.enable_grad():
        for _ in range(2):
            optimiser.zero_grad()
            sum(method.losses(batch).values()).backward()
            optimiser.step()
    return method.eval()


@pytest.mark.parametrize("name", ["baseline", "transreid"])
def test_adapters_and_heads_learn_and_nothing_else(name):
    method = method_of(name, lora=LORA)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    stepped(method)
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    heads = {
        key for key in before if key.startswith(("encoder.neck", "classifier", "neck")) and not key.endswith("bias")
    }
    assert moved == {key for key in before if "lora_" in key} | heads


@torch.no_grad()
def test_what_is_added_is_the_product_of_two_small_matrices():
    method = method_of(lora=LORA)
    plain = method_of().encoder.backbone
    assert torch.equal(plain(IMAGES), method.encoder.backbone(IMAGES)), "the second matrix starts at 0"
    for key, value in method.named_parameters():
        if "lora_B" in key:
            value.normal_(std=0.1)
    weights = dict(method.encoder.backbone.network.named_parameters())
    for block in range(len(plain.network.blocks)):
        for layer in ("attn.qkv", "mlp.fc1"):
            path = f"blocks.{block}.{layer}"
            a, b = (weights[f"{path}.lora_{letter}.default.weight"] for letter in "AB")
            plain.network.get_submodule(path).weight += 4.0 / 2 * b @ a
    torch.testing.assert_close(plain(IMAGES), method.encoder.backbone(IMAGES))


@torch.no_grad()
def test_merged_it_is_a_plain_network_of_the_same_embeddings():
    method = stepped(method_of(lora=LORA))
    whole = merged(method)
    assert whole.state_dict().keys() == method_of().state_dict().keys()
    assert has_adapters(method)
    kinds = torch.zeros(2)
    torch.testing.assert_close(whole.embed(IMAGES, kinds), method.embed(IMAGES, kinds), atol=1e-6, rtol=0)
    assert not torch.allclose(whole.embed(IMAGES, kinds), method_of().eval().embed(IMAGES, kinds), atol=1e-3)
    assert merged(whole) is whole


def test_layers_that_are_not_there_and_a_package_that_is_not_are_named(monkeypatch):
    with pytest.raises(
        CrossreidError, match=r"targets is query, .*'test_vit'.*linear layers are called fc1, fc2, proj, qkv"
    ):
        method_of(lora={"rank": 2, "targets": ["query"]})
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CrossreidError, match=r"needs peft, which is not installed: pip install 'crossreid\[lora\]'"):
        method_of(lora=LORA)
    method_of(lora={"rank": 0})
