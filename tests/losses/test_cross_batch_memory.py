"""The queue of cross-batch memory against a plain list of embeddings, batch after batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.errors import CrossreidError
from crossreid.losses.cross_batch_memory import CrossBatchMemory, contrastive_loss
from crossreid.losses.pairs import cosines, pair_masks
from labelled_batches import batches, falls_by_its_gradient, full_batch


def contrastive_by_loop(anchors, others, margin, over):
    """Anchors and others are lists of (name, unit vector, label); a name is no pair with itself."""
    pull, push, positives, violating = 0.0, 0.0, 0, 0
    for name, row, label in anchors:
        for other_name, other, other_label in others:
            similarity = float(row @ other)
            if label == other_label and name != other_name:
                pull, positives = pull + 1 - similarity, positives + 1
            if label != other_label and similarity > margin:
                push, violating = push + similarity, violating + 1
    if over == "anchors":
        return (pull + push) / len(anchors)
    return pull / max(positives, 1) + push / max(violating, 1)


@given(
    st.lists(batches(dtype=torch.float32), min_size=1, max_size=6),
    st.integers(9, 20),
    st.integers(0, 2),
    st.sampled_from(["anchors", "pairs"]),
)
@settings(deadline=None, max_examples=60)
def test_it_is_the_algorithm_with_a_list_for_a_queue(course, size, start, over):
    loss = CrossBatchMemory(5, 4, size=size, start=start, margin=0.3, memory_weight=0.7, over=over)
    queue = []
    for step, (features, labels, _) in enumerate(course):
        rows = torch.nn.functional.pad(features, (0, 5 - features.shape[1])).requires_grad_()
        unit = rows.detach().double().numpy()
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        anchors = [((step, i), row, int(label)) for i, (row, label) in enumerate(zip(unit, labels, strict=True))]
        if step >= start:
            queue = [*queue, *anchors][-size:]
        expected = contrastive_by_loop(anchors, anchors, 0.3, over)
        expected += 0.7 * contrastive_by_loop(anchors, queue, 0.3, over)
        found = loss(rows, labels)
        assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        found.backward()
        assert rows.grad.isfinite().all()
        kept = loss.memory_labels >= 0
        assert sorted(loss.memory_labels[kept].tolist()) == sorted(label for _, _, label in queue)


def test_a_step_falls_where_the_batch_alone_gives_nothing_to_learn():
    """The memory has the pairs: each identity of the batch is there once."""
    loss = CrossBatchMemory(4, 4, size=16, start=0)
    loss(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) // 2)
    frozen = loss.eval()
    features, labels = torch.randn(4, 4, generator=torch.Generator().manual_seed(1)), torch.arange(4)
    first, last = falls_by_its_gradient(lambda values: frozen(values, labels), features)
    assert last < 0.8 * first


def test_its_state_goes_on_in_another_to_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    course = [(torch.randn(6, 4, generator=generator), torch.randint(3, (6,), generator=generator)) for _ in range(8)]
    whole, first, second = (CrossBatchMemory(4, 3, size=16, start=2) for _ in range(3))
    expected = [whole(*batch) for batch in course]
    found = [first(*batch) for batch in course[:4]]
    second.load_state_dict(first.state_dict())
    found += [second(*batch) for batch in course[4:]]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_a_gradient_that_is_taken_late_is_that_of_its_batch():
    generator = torch.Generator().manual_seed(0)
    loss = CrossBatchMemory(4, 3, size=8, start=0)
    labels = torch.tensor([0, 0, 1, 2])
    early = torch.randn(4, 4, generator=generator, requires_grad=True)
    value = loss(early, labels)
    wanted = torch.autograd.grad(value, early, retain_graph=True)[0]
    loss(torch.randn(4, 4, generator=generator), labels)
    assert torch.equal(torch.autograd.grad(value, early)[0], wanted)


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(CrossreidError, match="a batch of 5 embeddings does not fit into a queue of 4"):
        CrossBatchMemory(3, 2, size=4)(torch.randn(5, 3), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("over", ["anchors", "pairs"])
def test_its_gradient_is_that_of_finite_differences(over):
    features, labels, _ = full_batch()
    masks = pair_masks(labels)
    assert torch.autograd.gradcheck(
        lambda values: contrastive_loss(cosines(values, values), *masks, margin=0.2, over=over),
        features.requires_grad_(),
    )
