"""Grad-CAM against its definition, on networks small enough to follow."""

import numpy as np
import pytest
import torch
from torch import nn

from crossreid.analysis.grad_cam import encoder_title, grad_cam
from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.methods import METHODS, build_method
from crossreid.methods.method import Network
from crossreid.methods.variational_distillation import VariationalDistillationOptions
from crossreid.methods.view_distillation import ViewDistillationOptions
from crossreid.models import tokens
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.heads import BottleneckOptions
from small_transformers import small_transformers  # noqa: F401


class Pooled(Network):
    """An encoder that hands its image on, and the mean over it as features."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.eye_(self.encoder.weight[:, :, 0, 0])

    @property
    def encoders(self):
        return [self.encoder]

    def features(self, images, modalities):
        return self.encoder(images).mean(dim=(2, 3))

    def predict(self, images, modalities):
        raise NotImplementedError


def method_of(name="test_resnet", **options):
    torch.manual_seed(0)
    backbone = BackboneOptions(name=name, weights="none", **options)
    return build_method(ViewDistillationOptions(backbone=backbone), 4).eval()


def image_of(height=64, width=32):
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(1))


def test_the_map_of_a_pooled_embedding_has_its_similarity_as_its_mean():
    generator = np.random.default_rng(0)
    image, direction = generator.random((3, 6, 4)), generator.random(3)
    unit = direction / np.linalg.norm(direction)
    features = image.mean((1, 2))
    expected = np.einsum("k,kxy->xy", unit, image) / np.linalg.norm(features) / 24  # mean gradients are 1 / 24 of it
    (found,) = grad_cam(Pooled(), torch.tensor(image), int(VISIBLE), direction)
    np.testing.assert_allclose(found.heat, expected, rtol=1e-4)
    assert found.heat.sum() == pytest.approx(found.similarity, rel=1e-4)
    assert found.similarity == pytest.approx(unit @ features / np.linalg.norm(features), rel=1e-5)


def test_the_map_lies_where_the_similarity_comes_from():
    image = torch.zeros(3, 8, 4)
    image[0, 6, 1], image[1, 2, 3] = 1, 1
    (found,) = grad_cam(Pooled(), image, int(VISIBLE), np.array([1.0, -1.0, 0.0]))
    assert np.argwhere(found.heat).tolist() == [[6, 1]]  # what speaks against it is cut off


@pytest.mark.parametrize("activation", [True, False])
def test_the_map_is_that_of_the_definition(activation):
    method = method_of(last_activation=activation)
    image, direction = image_of(), np.random.default_rng(2).normal(size=method.encoders[0].width)
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    hook = method.encoders[0].register_forward_hook(keep)
    features = method.features(image[None], torch.zeros(1, dtype=torch.long))[0]
    length = float(features.detach().norm())
    towards = torch.tensor(direction / np.linalg.norm(direction), dtype=torch.float32)
    ((features @ towards) / length).backward()
    hook.remove()
    maps, gradients = kept[0][0].detach().double().numpy(), kept[0].grad[0].double().numpy()
    expected = np.zeros(maps.shape[1:])
    for channel, gradient in zip(maps, gradients, strict=True):
        expected += gradient.mean() * channel
    (found,) = grad_cam(method, image, int(VISIBLE), direction)
    np.testing.assert_allclose(found.heat, np.maximum(expected, 0), atol=1e-5 * np.abs(expected).max())
    assert found.similarity == pytest.approx(float(features.detach() @ towards) / length, rel=1e-4)


def test_nothing_of_the_method_changes_and_nothing_of_it_need_learn():
    method = method_of().train()
    wanted = grad_cam(method, image_of(), int(VISIBLE), np.ones(method.encoders[0].width))[0].heat
    method.requires_grad_(False)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.inference_mode():
        (found,) = grad_cam(method, image_of(), int(VISIBLE), np.ones(method.encoders[0].width))
    np.testing.assert_array_equal(found.heat, wanted)
    assert method.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in method.parameters())
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_hooks for module in method.modules())


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenetv2_100"])
def test_the_backbones_of_the_paper_have_maps(name):
    method = method_of(name, last_stride_one=name != "densenet121")
    (found,) = grad_cam(method, image_of(), int(VISIBLE), np.ones(method.encoders[0].width))
    assert found.heat.shape == ((2, 1) if name == "densenet121" else (4, 2))
    assert found.heat.min() >= 0
    assert encoder_title(found.encoder) == "encoder"


def test_an_image_is_explained_by_the_encoders_that_it_passes():
    method = build_method(
        VariationalDistillationOptions(
            backbone=BackboneOptions(name="test_resnet", weights="none"),
            bottleneck=BottleneckOptions(hidden=[8], width=4),
        ),
        4,
    ).eval()
    width = method.features(image_of()[None], torch.zeros(1, dtype=torch.long)).shape[1]
    for modality, own in ((VISIBLE, "visible"), (INFRARED, "infrared")):
        found = grad_cam(method, image_of(), int(modality), np.ones(width))
        assert [encoder_title(one.encoder) for one in found] == [own, "shared"]


@pytest.mark.usefixtures("small_transformers")
@pytest.mark.parametrize(("name", "grid"), [("test_vit", (4, 2)), ("small_swin", (8, 4))])
def test_transformers_have_maps_on_their_grid(name, grid):
    method = method_of(name, last_stride_one=False)
    (found,) = grad_cam(method, image_of(), int(VISIBLE), np.ones(method.encoders[0].width))
    assert found.heat.shape == grid
    assert found.kind == "grad-cam"


def test_tokens_on_no_grid_are_refused(monkeypatch):
    method = method_of("test_vit")
    monkeypatch.setattr(tokens, "patch_grid", lambda *_: None)
    monkeypatch.setattr(tokens, "_even_grid", lambda *_: None)
    with pytest.raises(DataError, match=r"network\.encoder\.backbone returns .* tokens, not a map"):
        grad_cam(method, image_of(160, 160), int(VISIBLE), np.ones(method.encoders[0].width))


@pytest.mark.parametrize(("given", "streams"), [
    ({"name": "agw", "backbone": {"non_local": [0, 1, 1, 0]}}, ["encoder"]),
    ({"name": "implicit_knowledge"}, ["shared"]),
    ({"name": "implicit_knowledge", "test_features": "both"}, ["shared", "specific"]),
    ({"name": "variational_distillation", "stages": {"split": 2}}, ["shared", "specific"]),
])  # fmt: skip
def test_two_streams_have_a_map_of_each_that_is_tested(given, streams):
    given = given | {"backbone": {"name": "test_resnet", "weights": "none", **given.get("backbone", {})}}
    torch.manual_seed(0)
    method = build_method(METHODS[given["name"]].options(**given), 4).eval()
    image = torch.randn(3, 64, 32)
    width = method.embed(image[None], torch.zeros(1, dtype=torch.long)).shape[1]
    found = grad_cam(method, image, int(INFRARED), np.random.default_rng(0).normal(size=width))
    assert [encoder_title(one.encoder) for one in found] == streams
    assert all(one.heat.shape == (4, 2) for one in found)
