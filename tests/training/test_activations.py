"""Recomputed activations change memory and time, not what is learned."""

import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.methods import METHODS, build_method
from crossreid.training.activations import checkpoint_activations

IMAGES = torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6) % 2, torch.arange(6) % 3)
DROPPED = {"tokens": "class", "drop_path": 0.3, "side_information": "camera", "cameras": [0, 1, 2]}
KINDS = [
    ("baseline", {"name": "test_resnet"}),
    ("baseline", {"name": "test_vit", "last_stride_one": False, "transformer": {"drop_path": 0.3}}),
    ("baseline", {"name": "test_vit", "last_stride_one": False, "transformer": DROPPED}),
    ("transreid", {"name": "test_vit", "transformer": DROPPED}),
    ("agw", {"name": "test_vit"}),  # cut
    ("implicit_knowledge", {"name": "test_vit"}),
    ("agw", {"name": "test_convnext"}),
    ("variational_distillation", {"name": "test_vit"}),
]


def method_of(name, backbone):
    torch.manual_seed(0)
    return build_method(METHODS[name].options(backbone={"weights": "none", **backbone}), 3).train()


def step(method):
    """Losses of a batch, and how many values were kept for the backward pass."""
    kept = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        terms = method.losses(BATCH)
    sum(terms.values()).backward()
    return {name: term.detach() for name, term in terms.items()}, sum(kept)


@pytest.mark.parametrize(("name", "backbone"), KINDS)
def test_losses_gradients_and_statistics_are_the_same_and_less_is_kept(name, backbone):
    plain, recomputed = method_of(name, backbone), method_of(name, backbone)
    checkpoint_activations(recomputed)
    (expected, more), (found, less) = step(plain), step(recomputed)
    torch.testing.assert_close(found, expected)
    assert less < 0.7 * more
    for (key, one), (_, other) in zip(plain.named_parameters(), recomputed.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=key)
    step(plain)
    step(recomputed)
    for key, value in plain.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(recomputed.state_dict()[key], value, msg=key)


@pytest.mark.parametrize(
    ("name", "mixing"), [("test_resnet", False), ("test_efficientnet", False), ("test_convnext", True)]
)
def test_styles_are_mixed_or_it_is_refused(name, mixing):
    """timm passes a ResNet's blocks one by one, and what follows their stages would be left out unseen."""
    given = {"name": name, "mixstyle": {"stages": [1], "probability": 1.0, "alpha": 1.0}, "last_stride_one": False}
    plain, recomputed = method_of("baseline", given), method_of("baseline", given)
    if not mixing:
        with pytest.raises(CrossreidError, match=r"method\.backbone\.mixstyle or stage_attention cannot be recomputed"):
            checkpoint_activations(recomputed)
        return
    checkpoint_activations(recomputed)
    (expected, _), (found, _) = step(plain), step(recomputed)
    torch.testing.assert_close(found, expected)


def test_norms_by_domain_are_refused():
    given = {"name": "test_resnet", "domain_norm": "all", "domains": ["one", "other"]}
    with pytest.raises(CrossreidError, match=r"method\.backbone\.domain_norm cannot be recomputed"):
        checkpoint_activations(method_of("baseline", given))


def test_a_network_that_cannot_says_so():
    method = method_of("agw", {"name": "test_resnet", "non_local": [0, 1, 1, 0]})
    with pytest.raises(CrossreidError, match="TwoStream has no network that recomputes them"):
        checkpoint_activations(method)


def test_stages_that_are_called_as_a_whole_mix_styles_all_the_same():
    backbone = {"name": "convnext_atto", "last_stride_one": False, "mixstyle": {"stages": [1], "probability": 1.0}}
    plain, recomputed = method_of("baseline", backbone), method_of("baseline", backbone)
    checkpoint_activations(recomputed)
    torch.testing.assert_close(step(recomputed)[0], step(plain)[0])
