"""The neck of each modality, held to one of PyTorch's batch norms a modality."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.heads import Encoder, bn_neck
from crossreid.models.modality_neck import MODALITIES, ModalityNeck, as_neck_of
from no_synchronisation import no_synchronisation

WIDTH = 5


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator) * 3 + 2


def reference(pooled, modalities, norms):
    """Each modality through a batch norm of its own."""
    out = torch.empty_like(pooled)
    for kind, norm in enumerate(norms):
        chosen = modalities == kind
        if chosen.any():
            out[chosen] = norm(pooled[chosen])
    return out


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_each_modality_has_a_batch_norm_of_its_own(visible, infrared, seed):
    neck, norms = ModalityNeck(WIDTH), [nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)]
    with torch.no_grad():
        for part in (neck, *norms):
            part.weight.copy_(torch.linspace(0.5, 2, WIDTH))
    modalities = torch.tensor([0] * visible + [1] * infrared)[
        torch.randperm(visible + infrared, generator=torch.Generator().manual_seed(seed))
    ]
    for step in range(3):
        pooled = rows(visible + infrared, seed + step).requires_grad_()
        twin = pooled.detach().clone().requires_grad_()
        found, expected = neck(pooled, modalities), reference(twin, modalities, norms)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        weights = rows(visible + infrared, 1000)
        for value in (found, expected):
            (value * weights).sum().backward()
        torch.testing.assert_close(pooled.grad, twin.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(neck.running_mean, torch.stack([norm.running_mean for norm in norms]))
    torch.testing.assert_close(
        neck.running_var, torch.stack([norm.running_var for norm in norms]), rtol=1e-4, atol=1e-4
    )
    neck.eval()
    tested = rows(6, seed)
    kinds = torch.tensor([0, 1, 0, 1, 1, 0])
    expected = reference(tested, kinds, [norm.eval() for norm in norms])
    torch.testing.assert_close(neck(tested, kinds), expected, atol=1e-4, rtol=1e-4)


def test_there_is_a_row_for_each_modality():
    assert MODALITIES == len(Modality) == max(Modality) + 1


def test_an_absent_modality_keeps_its_statistics():
    neck = ModalityNeck(WIDTH)
    neck(rows(8, 0), torch.ones(8, dtype=torch.int64))
    assert torch.equal(neck.running_mean[0], torch.zeros(WIDTH))
    assert torch.equal(neck.running_var[0], torch.ones(WIDTH))
    assert neck.running_mean[1].abs().min() > 0


def test_a_shift_of_one_modality_is_taken_out():
    """What the neck is for: features of the two that differ by a constant come out the same."""
    neck, pooled = ModalityNeck(WIDTH), rows(16, 3)
    both = torch.cat([pooled, pooled + torch.tensor([4.0, -3.0, 0.0, 1.0, 9.0])])
    found = neck(both, torch.tensor([0] * 16 + [1] * 16))
    torch.testing.assert_close(found[:16], found[16:], atol=1e-4, rtol=1e-4)


def test_no_device_is_waited_for():
    neck, modalities = ModalityNeck(WIDTH), torch.tensor([0, 1] * 4)
    pooled = rows(8, 0)
    with no_synchronisation(torch.device("cpu")):
        neck(pooled, modalities)


def test_an_encoder_with_such_a_neck_needs_the_modalities():
    encoder = Encoder(BackboneOptions(name="test_resnet", weights="none"), by_modality=True)
    images = torch.randn(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    encoder(images, torch.tensor([0, 0, 1, 1]))
    with pytest.raises(CrossreidError, match="statistics of each modality"):
        encoder(images)


def test_a_neck_takes_the_statistics_of_one_of_the_other_kind():
    shared, own = bn_neck(WIDTH), ModalityNeck(WIDTH)
    shared(rows(16, 0))
    with torch.no_grad():
        shared.weight.mul_(torch.linspace(0.5, 2, WIDTH))
    own.load_state_dict(as_neck_of(shared, own))
    tested, kinds = rows(6, 1), torch.tensor([0, 1, 0, 1, 1, 0])
    torch.testing.assert_close(own.eval()(tested, kinds), shared.eval()(tested))
    own.running_mean[1] += 2
    back = bn_neck(WIDTH)
    back.load_state_dict(as_neck_of(own, back))
    torch.testing.assert_close(back.running_mean, shared.running_mean + 1)
    assert as_neck_of(shared, back).keys() == shared.state_dict().keys()
