"""P x K sampling by property: what a batch holds, what an epoch uses, and what several processes see."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.sampling import IdentitySampler, SamplerOptions


def world(counts):
    """Records of identities with (visible, infrared) images each, interleaved so that order carries nothing."""
    records = [
        Record(Path(f"{identity}/{kind.name}/{i}.png"), str(identity), 1, kind)
        for identity, pair in enumerate(counts)
        for kind, count in zip((VISIBLE, INFRARED), pair, strict=True)
        for i in range(count)
    ]
    return [records[i] for i in np.random.default_rng(0).permutation(len(records))]


worlds = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=4, max_size=9).map(world)


@settings(max_examples=50)
@given(worlds, st.integers(2, 4), st.sampled_from([2, 4, 6]), st.integers(0, 5), st.integers(0, 3))
def test_a_batch_is_p_identities_of_k_images_split_evenly(records, p, k, seed, epoch):
    sampler = IdentitySampler(records, SamplerOptions(identities=p, images=k), seed=seed)
    batches = sampler.epoch(epoch)
    assert len(batches) == sampler.steps == max(1, len(records) // (p * k))
    for batch in batches:
        kinds = Counter((records[i].identity, records[i].modality) for i in batch)
        identities = {identity for identity, _ in kinds}
        assert len(batch) == p * k
        assert len(identities) == p
        assert all(kinds[identity, kind] == k // 2 for identity in identities for kind in (VISIBLE, INFRARED))


@given(worlds, st.integers(0, 5))
def test_no_image_comes_again_before_its_group_was_used_up(records, seed):
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=4), seed=seed)
    size = Counter((r.identity, r.modality) for r in records)
    drawn = {}
    for index in np.concatenate(sampler.epoch(0)):
        record = records[index]
        drawn.setdefault((record.identity, record.modality), []).append(int(index))
    for group, indices in drawn.items():
        for start in range(0, len(indices), size[group]):
            once = indices[start : start + size[group]]
            assert len(set(once)) == len(once)


@given(worlds, st.integers(0, 5))
def test_identities_take_equal_turns(records, seed):
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=2), seed=seed)
    turns = Counter({r.identity: 0 for r in records})
    for batch in sampler.epoch(0):
        turns.update({records[i].identity for i in batch})
    assert max(turns.values()) - min(turns.values()) <= 1


@given(worlds, st.integers(0, 3), st.sampled_from([2, 4]))
def test_the_processes_batches_joined_are_those_of_one(records, epoch, processes):
    options = SamplerOptions(identities=4, images=4)
    alone = IdentitySampler(records, options, seed=7).epoch(epoch)
    parts = [IdentitySampler(records, options, seed=7, rank=r, world=processes).epoch(epoch) for r in range(processes)]
    assert all(len(part) == len(alone) for part in parts)
    for step, batch in enumerate(alone):
        assert np.array_equal(batch, np.concatenate([part[step] for part in parts]))


def test_the_plan_depends_on_seed_and_epoch_alone():
    records = world([(4, 4)] * 8)
    options = SamplerOptions(identities=4, images=4)
    sampler = IdentitySampler(records, options, seed=1)
    first = np.stack(sampler.epoch(3))
    sampler.epoch(0)
    assert np.array_equal(first, np.stack(sampler.epoch(3)))
    assert np.array_equal(first, np.stack(IdentitySampler(records, options, seed=1).epoch(3)))
    assert not np.array_equal(first, np.stack(sampler.epoch(4)))
    assert not np.array_equal(first, np.stack(IdentitySampler(records, options, seed=2).epoch(3)))


def test_an_identity_without_one_modality_is_left_out_and_named():
    records = world([(3, 3), (2, 0), (3, 3), (0, 4), (3, 3)])
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=2), seed=0)
    assert sampler.left_out == ("1", "3")
    drawn = {records[i].identity for epoch in range(4) for batch in sampler.epoch(epoch) for i in batch}
    assert drawn == {"0", "2", "4"}
    assert sampler.steps == 3


def test_without_balance_any_image_of_an_identity_may_come():
    records = world([(3, 0), (0, 3), (2, 2)])
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=3, balance="none"), seed=0)
    assert sampler.left_out == ()
    assert Counter(records[i].identity for i in sampler.epoch(0)[0]) == {"0": 3, "1": 3, "2": 3}


def test_too_few_identities_are_refused():
    records = world([(3, 3), (3, 3), (3, 0)])
    with pytest.raises(DataError, match=r"identities is 3, but only 2 .* both modalities \(1 of 3 left out\)"):
        IdentitySampler(records, SamplerOptions(identities=3, images=2), seed=0)


def test_identities_that_processes_cannot_share_are_refused():
    with pytest.raises(DataError, match="3, which 2 processes cannot share evenly"):
        IdentitySampler(world([(2, 2)] * 4), SamplerOptions(identities=3, images=2), seed=0, world=2)


@pytest.mark.parametrize("wrong", [{"images": 3}, {"images": 0}, {"identities": 1}, {"balance": "camera"}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        SamplerOptions(**wrong)
    assert SamplerOptions(images=3, balance="none").images == 3
