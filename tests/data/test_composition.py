"""Rows of a batch by kind, against loops, for batches of any composition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.data.batch import Batch
from crossreid.data.composition import composition_of, composition_of_sets

IMAGES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=20)


@given(IMAGES)
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_definitions(images):
    labels, modalities = (torch.tensor(part) for part in zip(*images, strict=True))
    found = composition_of(labels, modalities)
    rows = [[i for i, (_, kind) in enumerate(images) if kind == wanted] for wanted in (0, 1)]
    assert [part.tolist() for part in found.by_modality] == rows
    pairs = [[i, j] for i in rows[0] for j in rows[1] if images[i][0] == images[j][0]]
    assert found.pairs.T.tolist() == pairs
    matched, slots = [], []
    for label in dict.fromkeys(label for label, _ in images):
        own = [[i for i in kind if images[i][0] == label] for kind in rows]
        if all(own):
            most = max(map(len, own))
            slots.append([[kind[i % len(kind)] for i in range(most)] for kind in own])
            matched += zip(*slots[-1], strict=True)
    assert [tuple(pair) for pair in found.matched.T.tolist()] == matched
    k = min((len(own[0]) for own in slots), default=1)
    assert found.slots.shape == (2, len(slots), k)
    assert found.slots.transpose(0, 1).tolist() == [[kind[:k] for kind in own] for own in slots]
    assert all(part.dtype == torch.int64 for part in found)
    if not pairs:
        with pytest.raises(ValueError, match="no identity in both modalities"):
            found.refuse_unpaired()
    else:
        found.refuse_unpaired()


def test_of_sets_it_is_that_of_the_sets_and_spreads_over_their_images():
    labels, kinds = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 0])
    sets = kinds[:, None].repeat(1, 3)
    found = composition_of_sets(labels, sets)
    assert all(torch.equal(a, b) for a, b in zip(found, composition_of(labels, kinds), strict=True))
    for size in (1, 2, 3):
        visible, infrared = found.over_sets(size)
        flat = sets[:, :size].flatten()
        assert torch.equal(visible, (flat == 0).nonzero().flatten())
        assert torch.equal(infrared, (flat == 1).nonzero().flatten())
    sets[2, 1] = 0
    assert composition_of_sets(labels, sets) is None, "a set of both modalities is of neither"


def test_rows_of_a_batch_cannot_be_taken_with_a_composition_that_is_no_longer_its_own():
    labels = torch.arange(4) // 2
    batch = Batch(torch.zeros(4, 3, 2, 2), labels, labels % 2, labels, labels, composition_of(labels, labels % 2))
    with pytest.raises(TypeError):
        Batch(*(part[torch.tensor([1, 0])] for part in batch))
