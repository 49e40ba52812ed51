"""Networks that were not trained here embed as timm's own do, weights, pooling and last norm."""

import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.lora import LoraOptions
from crossreid.models.mixstyle import MixStyleOptions
from crossreid.models.transformer_options import TransformerOptions
from crossreid.models.weights import WeightsError
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.runs.pretrained import named_pretrained, network_recipe, pretrained_network, untouched
from weight_files import write_weights


@pytest.mark.parametrize(
    ("name", "token"),
    [("test_resnet", False), ("test_efficientnet", False), ("test_vit", True), ("test_convnext", False)],
)
def test_features_are_those_of_timm(name, token, tmp_path):
    theirs = write_weights(tmp_path / "w.safetensors", name)
    before = torch.get_rng_state()
    ours = pretrained_network(
        BackboneOptions(name=name, weights=str(tmp_path / "w.safetensors"), last_stride_one=False)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert ours.token == token
    side = theirs.pretrained_cfg["input_size"][-1]
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs(images), ours.features(images, torch.zeros(3))
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
        assert torch.allclose(ours.embed(images, torch.zeros(3)).norm(dim=1), torch.ones(3))
        features, logits = ours.predict(images, torch.zeros(3))
    assert torch.equal(features, found)
    assert logits.shape == (3, 0)


def test_pixels_follow_the_weights_and_the_strides_stay(tmp_path):
    network = PretrainedNetwork("tf_efficientnet_lite0", str(tmp_path / "w.safetensors"), 64, 48, True)
    recipe = network_recipe(network, {"name": "manifest", "root": "x"}, ["evaluation.metric=euclidean"])
    assert (recipe.data.height, recipe.data.width) == (64, 48)
    assert recipe.data.normalisation.mean == (0.5, 0.5, 0.5)
    assert recipe.evaluation.flip
    assert recipe.evaluation.metric == "euclidean"
    assert not recipe.method.encoder.last_stride_one


def test_what_a_recipe_adds_to_the_backbone_is_left_out():
    options = BackboneOptions(non_local=(0, 1, 1, 0), attention="bam", stage_attention=True, last_activation=False)
    assert untouched(options) == BackboneOptions(last_activation=False)
    sides = TransformerOptions(tokens="gem", side_information="both", patch_stride=8, drop_path=0.1)
    options = BackboneOptions(
        name="test_vit", weights="none", transformer=sides, lora=LoraOptions(rank=2), mixstyle=MixStyleOptions(stages=(1,)),
        domain_norm="statistics", domains=("a", "b"),
    )  # fmt: skip
    assert (
        untouched(options).model_dump()
        == BackboneOptions(name="test_vit", weights="none", transformer=TransformerOptions(patch_stride=8)).model_dump()
    )
    pretrained_network(untouched(options))  # side information of cameras that nobody numbered would be refused


@pytest.mark.parametrize("weights", ["imagenet", "/nowhere.safetensors"])
def test_weights_that_cannot_be_had_are_refused_in_words_of_the_command_line(weights, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    network = PretrainedNetwork("resnet18", weights)
    with pytest.raises(WeightsError) as refusal:
        named_pretrained(network, network_recipe(network))
    said = str(refusal.value)
    assert "method.backbone" not in said
    assert "none" not in said
    assert "\n" not in said
    assert "--weights FILE" in said if weights == "imagenet" else "not found" in said


def test_a_size_that_its_patches_do_not_divide_is_refused_in_words_of_the_command_line():
    with pytest.raises(CrossreidError) as refusal:
        network_recipe(PretrainedNetwork("test_vit", height=65, width=32))
    said = str(refusal.value)
    assert said.startswith("backbone 'test_vit' takes no images of 65 x 32 pixels")
    assert said.endswith("Nearest: 64 x 32 or 80 x 32 (--size).")
