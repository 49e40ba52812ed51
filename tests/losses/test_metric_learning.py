"""The losses of pytorch-metric-learning, each as the library computes it, and what is said without the library."""

import sys
from typing import get_args

import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.losses import metric_learning
from crossreid.losses.metric_learning import Name, metric_learning_loss
from labelled_batches import full_batch


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("pytorch_metric_learning.losses")


@pytest.mark.parametrize("name", get_args(Name))
def test_each_is_the_librarys_and_learns_in_float32(name, library):
    features, labels, _ = full_batch(dtype=torch.float32)
    torch.manual_seed(0)
    expected = getattr(library, name)()(features, labels)
    values = features.clone().requires_grad_()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = metric_learning_loss(values, labels, loss=name)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found.backward()
    assert values.grad.isfinite().all()
    assert values.grad.abs().sum() > 0


def test_options_reach_it_and_wrong_ones_are_named(library):
    features, labels, _ = full_batch(dtype=torch.float32)
    expected = library.NTXentLoss(temperature=0.5)(features, labels)
    assert torch.equal(
        metric_learning_loss(features, labels, loss="NTXentLoss", options={"temperature": 0.5}), expected
    )
    with pytest.raises(CrossreidError, match=r"NTXentLoss cannot be made with .*heat"):
        metric_learning_loss(features, labels, loss="NTXentLoss", options={"heat": 0.5})
    with pytest.raises(CrossreidError, match=r"NTXentLoss cannot be made with .*hot"):
        metric_learning_loss(features, labels, loss="NTXentLoss", options={"temperature": "hot"})


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    metric_learning._made.cache_clear()
    with pytest.raises(CrossreidError, match=r"pip install 'crossreid\[metric\]'") as error:
        metric_learning_loss(*full_batch()[:2], loss="NCALoss")
    assert "\n" not in str(error.value)
