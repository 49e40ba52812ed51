import copy

import pytest
import torch
from torch import nn

from crossreid.data.batch import Batch
from crossreid.training.arithmetic import arithmetic_of, laid_out, lay_out
from crossreid.training.options import TrainingOptions
from on_images import OnImages

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def present():
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        *(part.fp32_precision for part in (backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.conv)),
        backends.cudnn.benchmark,
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("highest", ("highest", "ieee", "ieee", "ieee")),
        ("high", ("high", "tf32", "tf32", "tf32")),
        ("medium", ("medium", "tf32", "tf32", "bf16")),
    ],
)
def test_products_and_convolutions_are_as_asked_for_and_as_before_afterwards(wanted, expected):
    before = present()

    def fail_within():
        with arithmetic_of(TrainingOptions(matmul_precision=wanted), CPU):
            assert present() == (*expected, before[-1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert present() == before


@pytest.mark.parametrize(("device", "tried"), [(CPU, False), (CUDA, True)])
def test_left_open_all_is_as_torch_has_it_and_convolutions_are_tried_out_on_cuda(device, tried):
    before = present()
    with arithmetic_of(TrainingOptions(), device):
        assert present() == (*before[:-1], before[-1] or tried)
    assert present() == before


def test_convolutions_are_not_tried_out_where_torch_is_to_be_deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    with arithmetic_of(TrainingOptions(), CUDA):
        assert not torch.backends.cudnn.benchmark


def test_channels_last_gives_the_same_losses_and_gradients_to_rounding():
    one = OnImages().train()
    other = copy.deepcopy(one)
    lay_out(other)
    filters = [p for p in other.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert filters
    assert all(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in filters)
    images, labels = torch.randn(6, 3, 32, 16), torch.arange(6) % 3
    batch = Batch(images, labels, labels, labels)
    assert laid_out(batch).images.stride()[1] == 1
    losses = [
        nn.functional.cross_entropy(network.logits(given.images), labels)
        for network, given in ((one, batch), (other, laid_out(batch)))
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-5)
    for loss in losses:
        loss.backward()
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-4, rtol=2e-3)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], atol=1e-5, rtol=1e-5)


def test_sets_of_images_and_batches_of_other_kinds_keep_their_values():
    labels = torch.arange(4)
    sets = Batch(torch.randn(4, 2, 3, 6, 5), labels, labels, labels)
    given = laid_out(sets)
    assert torch.equal(given.images, sets.images)
    assert given.images.shape == sets.images.shape
    assert given.images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert given.labels is labels
    pair = (torch.randn(2, 3, 4, 4), labels)
    assert laid_out(pair) is pair
    vectors = Batch(torch.randn(4, 8), labels, labels, labels)
    assert laid_out(vectors) is vectors
