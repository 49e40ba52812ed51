"""Cameras and modalities reach the tokens, in training, scoring and serving alike."""

import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.methods import METHODS, build_method
from crossreid.models.vision_transformer import tokens_of
from small_backbone import IMAGES, build

MODALITIES, CAMERAS = torch.tensor([0, 1]), torch.tensor([5, 3])


def transformer(kind, name="test_vit", **given):
    torch.manual_seed(0)
    side = {"side_information": kind, "cameras": [3, 5, 8], **given}
    return build(name, last_stride_one=False, transformer=side)


def with_added(backbone, images, offset):
    """The map when `offset` `(B, W)` is added to all tokens where timm adds the positions: by a hook, not by the code under test."""
    hook = backbone.network.pos_drop.register_forward_hook(lambda _m, _i, tokens: tokens + offset[:, None])
    side, backbone.side_information = backbone.side_information, None
    try:
        return backbone(images)
    finally:
        hook.remove()
        backbone.side_information = side


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "eva02_tiny_patch14_224"])
def test_in_parts_a_transformer_computes_what_timm_does(name):
    torch.manual_seed(0)
    backbone = build(name, last_stride_one=False)
    images = torch.randn(2, 3, 56, 28) if "14" in name else IMAGES
    with torch.no_grad():
        assert torch.equal(tokens_of(backbone.network, images), backbone.network.forward_features(images))


@torch.no_grad()
def test_the_vector_of_an_image_is_added_to_all_its_tokens():
    both = transformer("both", side_weight=2.0)
    table, kinds = both.side_information.camera, both.side_information.modality
    offset = 2 * (table[[1, 0]] + kinds[[0, 1]])
    assert torch.equal(both(IMAGES, MODALITIES, CAMERAS), with_added(both, IMAGES, offset))
    camera = transformer("camera")
    expected = with_added(camera, IMAGES, 3 * camera.side_information.camera[[1, 0]])
    assert torch.equal(camera(IMAGES, MODALITIES, CAMERAS), expected)
    modality = transformer("modality")
    expected = with_added(modality, IMAGES, 3 * modality.side_information.modality)
    assert torch.equal(modality(IMAGES, MODALITIES, None), expected)
    assert modality.side_information.camera is None


@torch.no_grad()
def test_a_camera_that_is_not_known_takes_the_mean():
    backbone = transformer("camera")
    mean = backbone.side_information.camera.mean(0).expand(2, -1)
    expected = with_added(backbone, IMAGES, 3 * mean)
    for cameras in (None, torch.tensor([99, -1])):
        torch.testing.assert_close(backbone(IMAGES, MODALITIES, cameras), expected, atol=1e-5, rtol=0)
    apart = backbone(IMAGES, MODALITIES, torch.tensor([99, 3]))
    torch.testing.assert_close(apart[0], expected[0], atol=1e-5, rtol=0)
    assert not torch.allclose(apart[1], expected[1], atol=1e-3)


@pytest.mark.parametrize("name", ["baseline", "transreid"])
def test_losses_and_embeddings_see_the_cameras(name):
    torch.manual_seed(0)
    side = {"side_information": "camera", "cameras": [0, 1]}
    backbone = {"name": "test_vit", "weights": "none", "last_stride_one": False, "transformer": side}
    method = build_method(METHODS[name].options(backbone=backbone), 2)
    batch = Batch(
        torch.randn(4, 3, 64, 32), torch.tensor([0, 0, 1, 1]), torch.zeros(4).long(), torch.tensor([0, 1, 1, 1])
    )
    sum(method.train().losses(batch).values()).backward()
    table = next(value for key, value in method.named_parameters() if key.endswith("side_information.camera"))
    assert (table.grad.abs().sum(1) > 0).all()
    method.eval()
    with torch.no_grad():
        images, kinds = batch.images[:2], batch.modalities[:2]
        one, other = (method.embed(images, kinds, cameras=torch.tensor(c)) for c in ([0, 0], [0, 1]))
        assert torch.equal(one[0], other[0])
        assert not torch.allclose(one[1], other[1], atol=1e-4)
        sets = method.embed(images[None], kinds[None], cameras=torch.tensor([[0, 1]]))
        mean = sum(method.features_by_camera(images, kinds, torch.tensor([0, 1]))) / 2
        torch.testing.assert_close(sets[0], torch.nn.functional.normalize(mean, dim=0))


def test_what_cannot_take_side_information_says_so():
    with pytest.raises(CrossreidError, match="no camera is numbered"):
        transformer("camera", cameras=None)
    with pytest.raises(CrossreidError, match=r"side_information is for vision transformers.*'test_resnet' is none"):
        transformer("modality", name="test_resnet")
    backbone = {"name": "test_vit", "weights": "none", "transformer": {"side_information": "modality"}}
    with pytest.raises(
        CrossreidError, match=r"agw passes its backbone neither camera nor modality.*baseline, transreid"
    ):
        build_method(METHODS["agw"].options(backbone=backbone), 2)
    student = METHODS["view_distillation"].options(
        network={"name": "baseline", "backbone": {**backbone, "last_stride_one": False}}
    )
    with pytest.raises(CrossreidError, match="view_distillation passes its backbone neither"):
        build_method(student, 2)
