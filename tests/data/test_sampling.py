"""P x K sampling by property: what a batch holds, what an epoch uses, and what several processes see."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from crossreid.data.readers import llcm, regdb, sysu_mm01
from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.sampling import IdentitySampler, SamplerOptions

LISTS = Path(__file__).resolve().parents[3] / "shared" / "protocols"
# Drawn when an epoch could be nothing else yet.
PINNED = [[13, 10, 21, 16, 3, 17], [11, 4, 19, 12, 8, 0], [19, 18, 22, 4, 24, 1], [2, 15, 25, 20, 5, 10]]


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
    assert len(batches) == sampler.steps_in(epoch) == max(1, len(records) // (p * k))
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
    assert sampler.steps_in(0) == 3


def test_without_balance_any_image_of_an_identity_may_come():
    records = world([(3, 0), (0, 3), (2, 2)])
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=3, balance="none"), seed=0)
    assert sampler.left_out == ()
    assert Counter(records[i].identity for i in sampler.epoch(0)[0]) == {"0": 3, "1": 3, "2": 3}


@pytest.mark.parametrize(
    ("counts", "as_by"),
    [([(6, 0)] * 4, "none"), ([(0, 6)] * 4, "none"), ([(3, 3)] * 3 + [(2, 0)], "modality")],
)
def test_auto_balances_where_both_modalities_are_there(counts, as_by):
    records = world(counts)
    found, expected = (
        IdentitySampler(records, SamplerOptions(identities=3, images=4, balance=balance), seed=1)
        for balance in ("auto", as_by)
    )
    assert found.left_out == expected.left_out
    assert np.array_equal(found.epoch(2), expected.epoch(2))


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


def test_an_epoch_of_images_is_what_it_has_always_been():
    records = world([(3, 2), (1, 4), (2, 2), (3, 3), (5, 1)])
    batches = IdentitySampler(records, SamplerOptions(identities=3, images=2), seed=11).epoch(2)
    assert [batch.tolist() for batch in batches] == PINNED


KINDS = [
    {"epoch": "images"},
    {"epoch": "identities"},
    {"epoch": "pairs"},
    {"epoch": 5},
    {"epoch": 5, "replacement": True},
    {"epoch": "images", "replacement": True},
]
kinds = st.sampled_from(KINDS)


@settings(max_examples=100)
@given(worlds, kinds, st.integers(0, 3), st.sampled_from([2, 4]))
def test_every_kind_of_epoch_is_shared_by_processes_and_follows_seed_and_epoch(records, kind, epoch, processes):
    options = SamplerOptions(identities=4, images=2, **kind)
    sampler = IdentitySampler(records, options, seed=7)
    alone = sampler.epoch(epoch)
    assert len(alone) == sampler.steps_in(epoch)
    parts = [IdentitySampler(records, options, seed=7, rank=r, world=processes) for r in range(processes)]
    assert [part.steps_in(epoch) for part in parts] == [len(alone)] * processes
    shares = [part.epoch(epoch) for part in parts]
    for step, batch in enumerate(alone):
        assert np.array_equal(batch, np.concatenate([share[step] for share in shares]))
        kinds_of = Counter((records[i].identity, records[i].modality) for i in batch)
        assert len({identity for identity, _ in kinds_of}) == 4
        assert set(kinds_of.values()) == {1}
    sampler.epoch(epoch + 1)
    again = sampler.epoch(epoch)
    assert all(np.array_equal(one, other) for one, other in zip(alone, again, strict=True))


@settings(max_examples=50)
@given(worlds, st.sampled_from([2, 4, 6]), st.integers(0, 3))
def test_an_epoch_of_identities_takes_each_once_and_its_images_once_where_they_suffice(records, k, seed):
    sampler = IdentitySampler(records, SamplerOptions(identities=3, images=k, epoch="identities"), seed=seed)
    size = Counter((r.identity, r.modality) for r in records)
    batches = sampler.epoch(0)
    assert len(batches) == len({r.identity for r in records}) // 3
    turns = [records[row[0]].identity for batch in batches for row in batch.reshape(3, k)]
    assert len(set(turns)) == len(turns) == 3 * len(batches)
    for row in np.concatenate(batches).reshape(-1, k):
        assert [records[i].modality for i in row] == [VISIBLE, INFRARED] * (k // 2)
        for part in (row[::2], row[1::2]):
            group = records[part[0]].identity, records[part[0]].modality
            assert {(records[i].identity, records[i].modality) for i in part} == {group}
            if size[group] >= k // 2:
                assert len(set(part)) == k // 2


def test_an_epoch_of_identities_without_balance_draws_any_images():
    records = world([(5, 0), (0, 3), (2, 2), (1, 0)])
    sampler = IdentitySampler(
        records, SamplerOptions(identities=2, images=4, balance="none", epoch="identities"), seed=0
    )
    drawn = np.concatenate(sampler.epoch(0)).reshape(4, 4)
    assert sorted(len({records[i].identity for i in row}) for row in drawn) == [1, 1, 1, 1]
    assert sorted(len(set(row)) for row in drawn)[2:] == [4, 4]  # of 5 and of 4 images, none twice


@settings(max_examples=50)
@given(worlds, st.sampled_from([2, 4]), st.integers(0, 3))
def test_an_epoch_of_pairs_goes_on_while_enough_identities_have_a_chunk_left(records, k, seed):
    half = k // 2
    size = Counter((r.identity, r.modality) for r in records)
    chunks = {}
    for identity in {r.identity for r in records}:
        both = size[identity, VISIBLE], size[identity, INFRARED]
        chunks[identity] = 1 if max(both) < half else min(both) // half
    options = SamplerOptions(identities=2, images=k, epoch="pairs")
    if sum(count > 0 for count in chunks.values()) < 2:
        with pytest.raises(DataError, match="pairs of images"):
            IdentitySampler(records, options, seed=seed)
        return
    batches = IdentitySampler(records, options, seed=seed).epoch(0)
    rows = np.concatenate(batches).reshape(-1, k)
    taken = Counter(records[row[0]].identity for row in rows)
    assert all(taken[identity] <= count for identity, count in chunks.items())
    assert sum(taken[identity] < count for identity, count in chunks.items()) < 2
    for row in rows:
        assert len({records[i].identity for i in row}) == 1
        assert [records[i].modality for i in row] == [INFRARED, VISIBLE] * half
    for identity in taken:
        drawn = [i for row in rows if records[row[0]].identity == identity for i in row]
        if max(size[identity, VISIBLE], size[identity, INFRARED]) >= half:
            assert len(set(drawn)) == len(drawn)  # none comes twice


def test_identities_short_of_both_modalities_give_one_chunk_of_pairs():
    records = world([(2, 1), (1, 2), (9, 1), (1, 9)])
    sampler = IdentitySampler(records, SamplerOptions(identities=2, images=6, epoch="pairs"), seed=0)
    (batch,) = sampler.epoch(0)  # of the others one pair each is left, less than a chunk
    assert {records[i].identity for i in batch} == {"0", "1"}


def test_a_number_of_batches_goes_on_where_images_run_out():
    records = world([(2, 2)] * 4)
    by_images = IdentitySampler(records, SamplerOptions(identities=2, images=2), seed=3)
    by_number = IdentitySampler(records, SamplerOptions(identities=2, images=2, epoch=9), seed=3)
    assert (by_images.steps_in(0), by_number.steps_in(0)) == (4, 9)
    assert all(np.array_equal(a, b) for a, b in zip(by_images.epoch(1), by_number.epoch(1), strict=False))


def test_with_replacement_an_image_may_come_twice_and_identities_need_not_take_turns():
    records = world([(1, 1)] * 2 + [(40, 40)] * 6)
    options = SamplerOptions(identities=2, images=4, epoch=200, replacement=True)
    batches = IdentitySampler(records, options, seed=0).epoch(0)
    turns = Counter(records[i].identity for batch in batches for i in batch[::4])
    assert len(set(turns.values())) > 1
    rows = np.concatenate(batches).reshape(-1, 2)
    repeated = sum(a == b for a, b in rows if records[a].identity not in ("0", "1"))
    assert 0 < repeated < 40  # one in forty of 600


# Steps an epoch as the releases have them, and identities, P and K.
BY_IDENTITIES = {
    "vd sysu-mm01": (395, 16, 24),
    "vd regdb": (206, 8, 25),
    "vkd mars teacher": (625, 8, 78),
    "vkd mars student": (625, 12, 52),
    "vkd duke-video teacher": (702, 8, 87),
    "vkd duke-video student": (702, 12, 58),
    "vkd veri-776 teacher": (576, 18, 32),
    "vkd veri-776 student": (576, 12, 48),
}


@pytest.mark.parametrize(("identities", "p", "steps"), BY_IDENTITIES.values(), ids=list(BY_IDENTITIES))
def test_epochs_of_identities_are_as_long_as_the_releases(identities, p, steps):
    options = SamplerOptions(identities=p, images=4, epoch="identities")
    sampler = IdentitySampler(world([(3, 2)] * identities), options, seed=1)
    assert sampler.steps_in(0) == len(sampler.epoch(0)) == steps


def sysu_like():
    """395 identities of 22,258 visible and 11,909 infrared images, these by one camera or by two, 20 or a few more each."""
    infrared = [20] * 157 + [24] * 47 + [40] * 190 + [41]
    visible = [56] * 256 + [57] * 138 + [56]
    assert (sum(visible), sum(infrared)) == (22_258, 11_909)
    return world(zip(visible, infrared, strict=True))


def test_epochs_of_pairs_are_as_long_as_the_releases():
    """RegDB has ten images of either modality; of SYSU-MM01 no list of images is at hand, so one alike stands for it."""
    regdb = IdentitySampler(world([(10, 10)] * 206), SamplerOptions(identities=6, images=10, epoch="pairs"), seed=0)
    assert {regdb.steps_in(epoch) for epoch in range(20)} == {68}
    sysu = IdentitySampler(sysu_like(), SamplerOptions(identities=12, images=10, epoch="pairs"), seed=0)
    assert all(abs(sysu.steps_in(epoch) - 195) <= 1 for epoch in range(10))


@pytest.mark.skipif(not LISTS.is_dir(), reason="the official lists are not at hand")
def test_epochs_on_the_official_lists_are_as_long_as_the_releases(tmp_path):
    (tmp_path / "llcm").mkdir()
    (tmp_path / "llcm" / "idx").symlink_to(LISTS / "LLCM")
    visible, infrared = (llcm.read_list(tmp_path / "llcm", f"train_{kind}.txt", kind) for kind in ("vis", "nir"))
    pairs = SamplerOptions(identities=12, images=10, epoch="pairs")
    sampler = IdentitySampler([*visible, *infrared], pairs, seed=0)
    lengths = Counter(sampler.steps_in(epoch) for epoch in range(40))
    assert sum(lengths[steps] for steps in (150, 151, 152)) > 35  # what a few draws of the release gave
    assert set(lengths) <= {149, 150, 151, 152, 153}
    (tmp_path / "regdb").mkdir()
    (tmp_path / "regdb" / "idx").symlink_to(LISTS / "RegDB")
    train = regdb.parse(tmp_path / "regdb", trial=1).train
    for options, steps in (
        (SamplerOptions(identities=6, images=10, epoch="pairs"), 68),
        (SamplerOptions(identities=8, images=8, epoch="identities"), 25),
        (SamplerOptions(identities=8, images=8, epoch=2060 // 32 + 1, replacement=True), 65),
    ):
        assert len(IdentitySampler(train, options, seed=0).epoch(0)) == steps
    train_and_validation = sum(
        len(sysu_mm01.read_identities(LISTS / "SYSU-MM01", f"{part}_id")) for part in ("train", "val")
    )
    assert train_and_validation // 16 == 24


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epoch": 0}, "or a number of batches from 1"),
        ({"epoch": True}, "or a number of batches from 1"),
        ({"epoch": "tracklets"}, "expected images, identities, pairs"),
        ({"epoch": "pairs", "balance": "none"}, "expected balance modality"),
        ({"epoch": "pairs", "replacement": True}, "takes each once"),
        ({"epoch": "identities", "replacement": True}, "takes each once"),
    ],
)
def test_impossible_epochs_are_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        SamplerOptions(**wrong)
