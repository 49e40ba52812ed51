"""Rates by layer and weight decay of matrices alone, against timm's own groups."""

import pytest
import torch
from timm.models.eva import Eva
from timm.optim import param_groups_layer_decay

from crossreid.errors import CrossreidError
from crossreid.methods import METHODS, build_method
from crossreid.training.optimisation import OptimiserOptions, make_optimiser, optimiser_tensors, restore_optimiser
from small_transformers import small_transformers  # noqa: F401

RATE, DECAY = 0.1, 0.05


def method_of(backbone="test_vit", name="baseline", **given):
    torch.manual_seed(0)
    own = {"name": backbone, "weights": "none", "last_stride_one": False, **given}
    return build_method(METHODS[name].options(backbone=own), 3)


def optimiser_of(method, **given):
    return make_optimiser(method, OptimiserOptions(name="adamw", lr=RATE, weight_decay=DECAY, **given))


def settings(method, optimiser):
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(
    "backbone", ["test_vit", "eva02_tiny_patch14_224", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_layers_learn_as_in_timms_groups(backbone):
    method = method_of(backbone)
    network = method.encoder.backbone.network
    found = settings(method, optimiser_of(method, layer_decay=0.75, decay_vectors=False, new_layers_factor=3))
    spared = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    groups = param_groups_layer_decay(network, DECAY, no_weight_decay_list=spared, layer_decay=0.75)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert found[names[id(parameter)]] == pytest.approx((RATE * group["lr_scale"], group["weight_decay"]))
    assert found["classifier.weight"] == pytest.approx((3 * RATE, DECAY))
    assert found["encoder.neck.weight"] == pytest.approx((3 * RATE, 0))
    assert found.keys() == {name for name, p in method.named_parameters() if p.requires_grad}
    assert len({rate for rate, _ in found.values()}) > 4


def test_without_either_there_are_the_two_groups_that_there_were():
    method = method_of()
    groups = optimiser_of(method, new_layers_factor=2).param_groups
    inside = list(method.encoder.backbone.parameters())
    assert [group["lr"] for group in groups] == [RATE, 2 * RATE]
    assert all(mine is theirs for mine, theirs in zip(groups[0]["params"], inside, strict=True))


def test_what_an_encoder_has_besides_its_network_learns_at_the_whole_rate():
    method = method_of(name="transreid", transformer={"side_information": "modality", "tokens": "gem"})
    found = settings(method, optimiser_of(method, layer_decay=0.5))
    besides = ("whole.side_information.modality", "block.attn.qkv.weight", "pooling.p")
    assert {found[f"network.{name}"][0] for name in besides} == {RATE}
    assert found["network.whole.network.norm.weight"][0] == RATE
    assert found["network.whole.network.blocks.4.attn.qkv.weight"][0] == RATE / 2
    assert found["network.whole.network.pos_embed"][0] == RATE / 2**6


def test_an_optimiser_of_many_groups_comes_back_as_it_was():
    def moved(steps, optimiser, method):
        for step in range(steps):
            for parameter in method.parameters():
                parameter.grad = torch.full_like(parameter, 1.0 + step)
            optimiser.step()

    one, other = method_of(), method_of()
    first, second = (optimiser_of(method, layer_decay=0.7, decay_vectors=False) for method in (one, other))
    moved(2, first, one)
    other.load_state_dict(one.state_dict())
    tensors, groups = optimiser_tensors(first)
    restore_optimiser(second, {name: tensor.clone() for name, tensor in tensors.items()}, groups)
    moved(2, first, one)
    moved(2, second, other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet", "test_convnext"])
def test_a_cut_network_learns_as_the_whole_one(backbone):
    """Copies of a stage learn at the rate of the layer that they are copies of."""
    whole = method_of(backbone)
    expected = settings(whole, optimiser_of(whole, layer_decay=0.5))
    options = METHODS["implicit_knowledge"].options(
        backbone={"name": backbone, "weights": "none", "last_stride_one": False}, stages={"stems": 1, "split": 2}
    )
    method = build_method(options, 3)
    found = settings(method, optimiser_of(method, layer_decay=0.5))
    cut = method.encoders[0]
    names = {id(p): name for name, p in method.named_parameters()}
    own = dict(cut.named_parameters())
    rates = {name: found[names[id(own[name])]][0] for name in cut.keys_in_whole if name in own}
    assert len(set(rates.values())) > 3
    assert rates == {name: expected[f"encoder.backbone.{cut.keys_in_whole[name]}"][0] for name in rates}


@pytest.mark.usefixtures("small_transformers")
def test_an_encoder_without_numbered_layers_is_refused(monkeypatch):
    monkeypatch.setattr(Eva, "group_matcher", property(), raising=False)
    for name, kind in (("agw", "TwoStream"), ("baseline", "Backbone")):
        options = METHODS[name].options(
            backbone={"name": "small_eva", "weights": "none", "last_stride_one": False, "non_local": []}
        )
        with pytest.raises(CrossreidError, match=rf"layer_decay is 0\.5, but {kind} does not number its layers"):
            optimiser_of(build_method(options, 3), layer_decay=0.5)
