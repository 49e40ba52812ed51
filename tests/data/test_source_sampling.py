"""Batches of several data sets: shares by weight, balance, one source a batch; the same for processes, workers and restarts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from crossreid.data.data_options import DataOptions
from crossreid.data.records import VISIBLE, DataError
from crossreid.data.sending import tensors_in
from crossreid.data.source_sampling import SourceSampler, turns_by_share
from crossreid.data.training_loading import TrainLoader
from noise_records import noise_records

P, K = 4, 4


def options_of(folder, weights=(1, 1), *, balance=(None, None), mixing="within", epoch=6, workers=0, **given):
    sources = [
        {"called": name, "name": "manifest", "root": str(folder / name), "weight": weight, "balance": kind}
        for name, weight, kind in zip("ab", weights, balance, strict=True)
    ]
    sampler = {"identities": P, "images": K, "epoch": epoch}
    return DataOptions(sources=sources, mixing=mixing, height=32, width=16, workers=workers, sampler=sampler, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("noise")


@pytest.fixture(scope="module")
def records(folder):
    found = noise_records(folder)
    return [replace(one, identity=f"{name}:{one.identity}", source=name) for name in "ab" for one in found]


def sampler_of(records, options, **given):
    return SourceSampler(records, options.sampler, options.sources, mixing=options.mixing, **{"seed": 0, **given})


def sources_in(records, batch):
    return Counter(records[index].source for index in batch[::K])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.75, 0.25), (0.9, 0.1), (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_turns_come_to_the_shares_and_are_next_to_them_at_each_step(shares, count):
    turns = turns_by_share(np.array(shares), count, 400, np.random.default_rng(1))
    assert (turns.sum(1) == count).all()
    np.testing.assert_allclose(turns.mean(0), count * np.array(shares), atol=0.02)
    assert (abs(turns - count * np.array(shares)) <= 2).all()
    assert (turns <= np.ceil(count * np.array(shares) - 1e-9)).all()


def test_each_batch_holds_both_sources_by_their_weights_balanced_by_modality(records, folder):
    batches = sampler_of(records, options_of(folder, (3, 1))).epoch(0)
    assert all(sources_in(records, batch) == {"a": 3, "b": 1} for batch in batches)
    for batch in batches:
        rows = batch.reshape(P, K)
        assert len({records[row[0]].identity for row in rows}) == P
        for row in rows:
            assert len({records[index].identity for index in row}) == 1
            assert Counter(records[index].modality for index in row) == {0: 2, 1: 2}


def test_batches_alternate_between_sources_by_their_weights(records, folder):
    batches = sampler_of(records, options_of(folder, (2, 1), mixing="alternate", epoch=12)).epoch(0)
    each = [sources_in(records, batch) for batch in batches]
    assert all(len(counts) == 1 for counts in each)
    assert sum("a" in counts for counts in each) == 8


@pytest.mark.parametrize("mixing", ["within", "alternate"])
@pytest.mark.parametrize("epoch", ["images", "identities"])
def test_the_plan_is_that_of_seed_and_epoch_and_the_same_joined_over_processes(records, folder, mixing, epoch):
    options = options_of(folder, mixing=mixing, epoch=epoch)
    one = sampler_of(records, options)
    assert len(one.epoch(3)) == one.steps_in(3) == (3 if epoch == "images" else 2)
    same, other = sampler_of(records, options).epoch(3), sampler_of(records, options, seed=1).epoch(3)
    assert np.array_equal(one.epoch(3), same)
    assert not np.array_equal(one.epoch(3), other)
    parts = [sampler_of(records, options, rank=rank, world=2).epoch(3) for rank in (0, 1)]
    assert np.array_equal(np.concatenate(parts, axis=1), one.epoch(3))


def test_no_identity_comes_again_before_all_of_its_source_have(records, folder):
    batches = sampler_of(records, options_of(folder, epoch=2)).epoch(0)
    seen = Counter(records[index].identity for batch in batches for index in batch[::K])
    assert set(seen.values()) == {1}


def test_a_source_of_one_modality_is_refused_and_allowed_where_it_says_so(records, folder):
    alone = [one for one in records if one.source == "a" or one.modality == VISIBLE]
    with pytest.raises(DataError, match=r"source 'b': .* only 0 have .* are visible: give this source `balance: none`"):
        sampler_of(alone, options_of(folder))
    options = options_of(folder, balance=(None, "none"))
    for batch in sampler_of(alone, options).epoch(0):
        kinds = {one: {alone[i].modality for i in batch if alone[i].source == one} for one in "ab"}
        assert kinds == {"a": {0, 1}, "b": {0}}


def test_a_source_of_too_few_identities_is_named_with_what_helps(records, folder):
    few = [one for one in records if one.source == "a" or one.identity in ("b:id0", "b:id1")]
    with pytest.raises(DataError, match=r"source 'b': batches take up to 3 .* only 2 .* Lower its weight"):
        sampler_of(few, options_of(folder, (1, 3)))
    with pytest.raises(DataError, match=r"up to 4 .* only 2 .* set data.mixing=within"):
        sampler_of(few, options_of(folder, mixing="alternate"))
    with pytest.raises(DataError, match="3 processes cannot share"):
        sampler_of(records, options_of(folder), world=3)


def test_batches_say_their_domains_for_any_worker_and_from_any_step(records, folder):
    loader = TrainLoader(records, options_of(folder), seed=0)
    batches = list(loader(0))
    for batch in batches:
        names = sorted({one.identity for one in records})
        own = torch.tensor([names[label].startswith("b") for label in batch.labels]).long()
        assert torch.equal(batch.domains, own)
        assert 0 < int(own.sum()) < len(own)
    later = [*TrainLoader(records, options_of(folder), seed=0)(0, 4)]
    for one, other in zip(batches[4:], later, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors_in(one), tensors_in(other), strict=True))


def test_a_source_has_its_own_normalisation(records, folder):
    options = options_of(folder, augment={"flip": 0, "pad": 0})
    raw = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    given = options.model_dump()
    given["sources"][1]["normalise"] = raw
    common, own = (next(iter(TrainLoader(records, one, seed=0)(0))) for one in (options, DataOptions(**given)))
    of_b = common.domains == 1
    assert torch.equal(common.images[~of_b], own.images[~of_b])
    assert own.images[of_b].min() >= 0 > common.images[of_b].min()
    assert own.images[of_b].max() <= 1
