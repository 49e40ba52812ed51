"""MixStyle against its equations by loop, on networks of several layouts, and where it must not happen."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from crossreid.errors import CrossreidError
from crossreid.methods import Batch, build_method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.mixstyle import (
    MixStyleOptions,
    draw_partners,
    images_of,
    mix_styles,
    put_mixstyle_after_stages,
)
from crossreid.runs.recipe import make_recipe
from few_steps import losses_of_steps
from small_backbone import IMAGES, build

ALWAYS = {"stages": [1, 2], "probability": 1.0, "alpha": 1.0}


def test_maps_take_on_the_mixed_style_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 3, 5, 2, generator=generator, dtype=torch.float64) * 3 + 1
    partners, shares = torch.tensor([2, 0, 3, 1]), torch.tensor([0.1, 0.9, 0.5, 1.0], dtype=torch.float64)
    found = mix_styles(maps, partners, shares).numpy()
    for i in range(4):
        for channel in range(3):
            own, other = maps[i, channel].numpy(), maps[partners[i], channel].numpy()
            share = float(shares[i])
            sigma, foreign = np.sqrt(own.var() + 1e-6), np.sqrt(other.var() + 1e-6)
            gamma, beta = share * sigma + (1 - share) * foreign, share * own.mean() + (1 - share) * other.mean()
            np.testing.assert_allclose(found[i, channel], gamma * (own - own.mean()) / sigma + beta, rtol=1e-9)
    channels_last = mix_styles(maps.permute(0, 2, 3, 1), partners, shares, axes=(1, 2)).permute(0, 3, 1, 2)
    np.testing.assert_allclose(channels_last.numpy(), found, rtol=1e-9)
    with torch.autocast("cpu", torch.bfloat16):
        half = mix_styles(maps.bfloat16(), partners, shares)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), torch.from_numpy(found), rtol=0.02, atol=0.05)


def test_styles_are_constants_to_the_gradient():
    maps = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    mix_styles(maps, torch.tensor([1, 0]), torch.tensor([0.3, 0.3])).sum().backward()
    with torch.no_grad():
        sigma = (maps.var((2, 3), correction=0) + 1e-6).sqrt().flatten()
        expected = (0.3 * sigma + 0.7 * sigma.flip(0)) / sigma
    torch.testing.assert_close(maps.grad, expected[:, None, None, None].expand_as(maps), rtol=1e-6, atol=1e-6)


def test_partners_are_a_permutation_or_of_the_other_modality():
    torch.manual_seed(0)
    assert draw_partners(9, None, torch.device("cpu")).sort().values.tolist() == list(range(9))
    modalities = torch.tensor([0, 0, 1, 0, 1, 1, 0])
    drawn = torch.stack([draw_partners(7, modalities, torch.device("cpu")) for _ in range(60)])
    assert (modalities[drawn] != modalities).all()
    assert all(set(drawn[:, i].tolist()) == {j for j in range(7) if modalities[j] != modalities[i]} for i in range(7))
    assert draw_partners(3, torch.ones(3), torch.device("cpu")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_a_backbone_mixes_in_training_alone_and_has_no_key_more(name):
    mixing = build(name, mixstyle=ALWAYS, last_stride_one=False)
    plain = build(name, last_stride_one=False)
    assert mixing.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(mixing.state_dict())
    images = torch.randn(8, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(mixing(images), plain(images))
        mixing.train(), plain.train()
        assert not torch.allclose(mixing(images), plain(images), atol=1e-3)
        for module in mixing.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        torch.manual_seed(3)
        first = mixing(images)
        other = copy.deepcopy(mixing)
        torch.manual_seed(3)
        assert torch.equal(other(images), first)


class ChannelsLast(nn.Module):
    """One stage that hands on `(B, H, W, C)`, as Swin's do."""

    def __init__(self):
        super().__init__()
        self.feature_info, self.num_features = [{"module": "stage", "num_chs": 3}], 3
        self.stage = nn.Identity()

    def forward_features(self, images):
        return self.stage(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_styles_are_those_of_channels_wherever_the_channels_are():
    network = ChannelsLast().train()
    put_mixstyle_after_stages(network, "mine", MixStyleOptions(stages=(0,), probability=1.0, alpha=1.0))
    images = torch.randn(6, 3, 10, 7)
    torch.manual_seed(0)
    found = network.forward_features(images)
    torch.manual_seed(0)
    partners = draw_partners(6, None, images.device)
    shares = torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)).sample((6,))
    torch.testing.assert_close(found, mix_styles(images, partners, shares), rtol=1e-4, atol=1e-5)


def test_a_probability_of_zero_never_mixes():
    torch.manual_seed(0)
    never = build("test_resnet", mixstyle=ALWAYS | {"probability": 0.0}).train()
    plain = build("test_resnet").train()
    plain.load_state_dict(never.state_dict())
    torch.testing.assert_close(never(IMAGES), plain(IMAGES), rtol=1e-3, atol=1e-4)


def test_the_right_stages_mix():
    made = build("test_resnet", mixstyle={"stages": [1, 3]})
    assert [path for path, module in made.network.named_modules() if hasattr(module, "mixstyle")] == [
        "layer1",
        "layer3",
    ]


@pytest.mark.parametrize(
    ("name", "stages", "told"),
    [
        ("test_resnet", [5], "names stage 5, but backbone 'test_resnet' has stages 0 to 4"),
        ("test_vit", [0], "does not hand on maps of channels"),
        ("test_vit", [6], "its stage 6 does not hand on maps of channels"),
    ],
)
def test_what_has_no_such_maps_is_refused(name, stages, told):
    with pytest.raises(CrossreidError, match=told):
        Backbone(BackboneOptions(name=name, weights="none", last_stride_one=False, mixstyle={"stages": stages}))


def recipe_of(method, **mixstyle):
    backbone = {"name": "test_resnet", "weights": "none", "mixstyle": ALWAYS | mixstyle}
    if method == "agw":
        backbone["non_local"] = [0, 1, 1, 0]
    given = {"name": method, "backbone": backbone}
    return make_recipe({"data": {"name": "manifest", "root": "images"}, "method": given})


def batch_of():
    images = torch.randn(8, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    images[1::2] = images[1::2] * 3 + 5  # infrared images of a style of their own
    labels = torch.arange(8) // 2
    return Batch(images, labels, torch.arange(8) % 2, torch.zeros_like(labels))


@pytest.mark.parametrize("method", ["baseline", "agw", "implicit_knowledge"])
def test_methods_that_know_modalities_mix_across_them_and_learn(method):
    torch.manual_seed(0)
    built = build_method(recipe_of(method, across=True).method, 4).train()
    course = losses_of_steps(built, batch_of())
    assert sum(course[-3:]) / 3 < course[0]
    built.eval()
    first, again = (built.embed(batch_of().images, batch_of().modalities) for _ in range(2))
    assert torch.equal(first, again)


def test_across_takes_the_style_of_the_other_modality():
    torch.manual_seed(0)
    stage = build("test_resnet", mixstyle={"stages": [1], "probability": 1.0, "alpha": 1.0, "across": True}).train()
    given, handed_on = [], []
    layer = stage.network.layer1
    layer.register_forward_hook(lambda _m, _i, output: handed_on.append(output))
    layer[-1].register_forward_hook(lambda _m, _i, output: given.append(output))
    batch = batch_of()
    with torch.no_grad(), images_of(batch.modalities):
        stage(batch.images)
    before, after = given[0].mean((2, 3)), handed_on[0].mean((2, 3))
    for i in range(8):
        foreign = before[batch.modalities != batch.modalities[i]]
        # Between its own mean and that of one image of the other modality, by one share in every channel.
        shares = [((after[i] - other) / (before[i] - other)) for other in foreign]
        assert min(float(share.std()) for share in shares) < 1e-2


def test_a_method_without_modalities_in_its_encoder_is_told_so():
    built = build_method(recipe_of("baseline", across=True).method, 4).train()
    with pytest.raises(CrossreidError, match=r"mixstyle.across: this method gives the encoder no modalities"):
        built.encoder(batch_of().images)
    agw = build_method(recipe_of("agw", across=True, stages=[0]).method, 4).train()
    with pytest.raises(CrossreidError, match="or stages behind those that each modality has for itself"):
        agw.losses(batch_of())
