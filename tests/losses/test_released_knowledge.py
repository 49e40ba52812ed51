"""What IDKL's release minimises, against loops; tests/parity compares it with the release's own numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.composition import paired_as_drawn, slot_rows
from crossreid.losses import released_knowledge as released

LABELS = torch.tensor([4, 4, 4, 4, 1, 1, 1, 1, 7, 7, 7, 7])
TURNS = torch.tensor([1, 0] * 6)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(values):
    powers = np.exp(np.asarray(values) - np.max(values))
    return powers / powers.sum()


def both_ways(p_rows, q_rows):
    total = sum((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum() for p, q in zip(p_rows, q_rows, strict=True))
    return total / len(p_rows)


def graph_by_loop(x):
    return [softmax([np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i]) for i in range(len(x))]


def test_a_graph_pair_is_one_divergence_both_ways():
    a, b = normal(5, 3, seed=1), normal(5, 3, seed=2)
    expected = both_ways(graph_by_loop(a.numpy()), graph_by_loop(b.numpy()))
    assert released.released_graph_alignment(a, b).item() == pytest.approx(expected, rel=1e-4)
    assert released.released_graph_alignment(a[:1], b[:1]).item() == 0


def test_mixed_graphs_are_of_a_half_of_each_modality():
    a, b = normal(6, 3, seed=1), normal(6, 3, seed=2)
    mixed = torch.cat([a[:3], b[:3]])
    pairs = ((a, b), (a, mixed), (mixed, b))
    expected = sum(both_ways(graph_by_loop(x.numpy()), graph_by_loop(y.numpy())) for x, y in pairs)
    assert released.mixed_graph_alignment(a, b).item() == pytest.approx(expected, rel=1e-4)


def test_slots_are_a_softmax_over_the_classes_of_one_image_of_each_identity():
    a, b = normal(6, 4, seed=1), normal(6, 4, seed=2)  # 3 identities, 2 slots

    def rows(logits):
        return [softmax(np.concatenate([logits[2 * i + slot].numpy() for i in range(3)])) for slot in range(2)]

    assert released.slot_alignment(a, b, 2).item() == pytest.approx(both_ways(rows(a), rows(b)), rel=1e-4)


def test_the_releases_order_is_kept_and_made():
    assert released.released_order(LABELS, TURNS).tolist() == list(range(12))
    halves = torch.tensor([0, 0, 1, 1] * 3)
    assert released.released_order(LABELS, halves).tolist() == [2, 0, 3, 1, 6, 4, 7, 5, 10, 8, 11, 9]
    # So pseudo-labels are the same images' whichever of the two orders they come in.
    in_turns = released.released_pseudo_modalities(LABELS, TURNS)
    found = released.released_pseudo_modalities(LABELS, halves)
    assert torch.equal(found[[2, 0, 3, 1, 6, 4, 7, 5, 10, 8, 11, 9]], in_turns)
    assert in_turns.tolist() == [1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=24))
def test_an_order_is_every_row_once(batch):
    labels, modalities = (torch.tensor(part) for part in zip(*batch, strict=True))
    order = released.released_order(labels, modalities)
    assert sorted(order.tolist()) == list(range(len(batch)))
    seen = list(dict.fromkeys(labels[order].tolist()))
    assert seen == list(dict.fromkeys(labels.tolist())), "identities as the batch first has them"
    assert [key for key, _ in itertools.groupby(labels[order].tolist())] == seen


def test_rows_are_paired_in_the_order_of_the_batch():
    visible, infrared = paired_as_drawn(LABELS, TURNS)
    assert visible.tolist() == [1, 3, 5, 7, 9, 11]
    assert infrared.tolist() == [0, 2, 4, 6, 8, 10]
    assert slot_rows(LABELS, TURNS)[2] == 2


def test_slots_are_cut_to_what_every_identity_has():
    labels, modalities = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2]), torch.tensor([0, 0, 1, 0, 1, 1, 1, 0])
    visible, infrared, k = slot_rows(labels, modalities)
    assert (visible.tolist(), infrared.tolist(), k) == ([0, 1, 3, 3], [2, 2, 4, 5], 2)


def test_hinges_of_the_purifier():
    kept, whole = normal(4, 5, seed=1), normal(4, 5, seed=2)

    def entropy(row):
        p = softmax(row.numpy())
        return -(p * np.log(p)).sum()

    expected = np.mean([math.exp(max(0.0, entropy(a) - entropy(b))) - 1 for a, b in zip(kept, whole, strict=True)])
    assert released.released_entropy_reduction(kept, whole).item() == pytest.approx(expected, rel=1e-4)
    reduced, normalised = normal(12, 3, seed=3), normal(12, 3, seed=4)

    def distance(x, label):
        apart = [x[(label == LABELS) & (kind == TURNS)].mean(0) for kind in (0, 1)]
        return float((apart[0] - apart[1] + 1e-6).norm())

    terms = [max(0.0, distance(reduced, label) - distance(normalised, label)) for label in (4, 1, 7)]
    found = released.released_centre_reduction(reduced, normalised, LABELS, TURNS)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-4)
    with pytest.raises(ValueError, match="no identity in both modalities"):
        released.released_centre_reduction(reduced[::2], normalised[::2], LABELS[::2], TURNS[::2])
