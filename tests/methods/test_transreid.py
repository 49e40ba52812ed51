"""TransReID's losses and test features, from its equations."""

import pytest
import torch
from torch.nn import functional as F

from crossreid.analysis.grad_cam import grad_cam
from crossreid.data.batch import Batch
from crossreid.losses.metric import triplet_loss
from crossreid.methods import build_method
from crossreid.methods.transreid import TransReIDOptions

BACKBONE = {"name": "test_vit", "weights": "none", "transformer": {"tokens": "class", "patch_stride": 12}}
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def method_of(**given):
    torch.manual_seed(0)
    return build_method(TransReIDOptions(backbone=BACKBONE, **given), 3)


def batch():
    images = torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    return Batch(images, LABELS, torch.zeros(6).long(), torch.arange(6) % 2)


def test_losses_are_the_global_ones_and_the_mean_of_the_local_ones():
    method = method_of(parts=3, label_smoothing=0.1, global_weight=0.5, local_weight=0.25).train()
    terms = method.losses(batch())
    pooled = method.network(batch().images)
    assert len(pooled) == 4
    identity = [
        F.cross_entropy(head(neck(f)), LABELS, label_smoothing=0.1)
        for f, neck, head in zip(pooled, method.necks, method.classifiers, strict=True)
    ]
    triplet = [triplet_loss(f, LABELS, margin=None) for f in pooled]
    expected = {
        "identity": 0.5 * identity[0], "triplet": 0.5 * triplet[0],
        "local_identity": 0.25 * sum(identity[1:]) / 3, "local_triplet": 0.25 * sum(triplet[1:]) / 3,
    }  # fmt: skip
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)


@torch.no_grad()
@pytest.mark.parametrize(
    ("given", "scale"), [({}, 1 / 4), ({"local_scale": 1.0}, 1), ({"test_features": "neck"}, 1 / 4)]
)
def test_the_test_compares_global_and_local_features_together(given, scale):
    method = method_of(**given).eval()
    for neck in method.necks:
        neck.running_mean.fill_(0.3)
    images, kinds = batch().images, batch().modalities
    parts = list(method.network(images))
    if given.get("test_features") == "neck":
        parts = [neck(part) for part, neck in zip(parts, method.necks, strict=True)]
    expected = torch.cat([parts[0], *(scale * part for part in parts[1:])], 1)
    torch.testing.assert_close(method.features(images, kinds), expected)
    features, logits = method.predict(images, kinds)
    torch.testing.assert_close(features, expected)
    assert logits.shape == (6, 3)


def test_a_vision_transformer_needs_no_last_stride_and_no_parts():
    assert not TransReIDOptions(backbone={"name": "vit_small_patch16_224"}).backbone.last_stride_one
    terms = method_of(parts=0).train().losses(batch())
    assert terms.keys() == {"identity", "triplet"}


def test_its_maps_are_of_the_patches():
    method = method_of()
    (found,) = grad_cam(method, batch().images[0], 0, torch.randn(5 * 64).numpy())
    assert found.heat.shape == (5, 2)
    assert found.heat.max() > 0
