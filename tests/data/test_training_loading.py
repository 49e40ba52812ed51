"""The loader on real image files: the same batches for any number of workers, restarts, bad files."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch

from crossreid.data import training_loading
from crossreid.data.channels import ChannelOptions
from crossreid.data.data_options import AugmentOptions, DataOptions
from crossreid.data.evaluation_loading import evaluation_batches
from crossreid.data.normalisation import IMAGENET
from crossreid.data.records import INFRARED, DataError
from crossreid.data.sending import tensors_in
from crossreid.data.training_loading import TrainLoader
from noise_records import EACH, IDENTITIES, noise_records, refusal_of, spoil


@pytest.fixture
def records(tmp_path):
    return noise_records(tmp_path)


def options_of(tmp_path, workers=0, epoch="images", **given):
    return DataOptions(
        name="manifest",
        root=tmp_path,
        height=32,
        width=16,
        workers=workers,
        augment={"flip": 0.5, "pad": 4, "erasing": 0.5, "jitter": 0.3, "grey": 0.3, "pseudo_infrared": 0.3},
        sampler={"identities": 2, "images": 4, "epoch": epoch},
        **given,
    )


def epoch_of(loader, epoch, first_step=0):
    return list(loader(epoch, first_step))


def epochs_of(loader, count):
    return [batch for epoch in range(count) for batch in loader(epoch)]


def assert_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)


def test_a_batch_is_typed_and_shaped_as_promised(records, tmp_path):
    loader = TrainLoader(records, options_of(tmp_path), seed=0)
    assert loader.classes == IDENTITIES
    batches = epoch_of(loader, 0)
    assert len(batches) == len(loader) == 3
    for batch in batches:
        assert batch.images.shape == (8, 3, 32, 16)
        assert batch.images.dtype == torch.float32
        assert {part.dtype for part in batch[1:]} == {torch.int64}
        assert batch.labels.tolist() == [label for label in dict.fromkeys(batch.labels.tolist()) for _ in range(4)]
        assert batch.modalities.tolist() == [0, 0, 1, 1] * 2
        assert batch.cameras.tolist() == [1, 1, 3, 3] * 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_for_any_number_of_workers(records, tmp_path, workers):
    alone = TrainLoader(records, options_of(tmp_path), seed=3)
    several = TrainLoader(records, options_of(tmp_path, workers), seed=3)
    for epoch in (0, 1):
        assert_same(epoch_of(several, epoch), epoch_of(alone, epoch))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_within_an_epoch_gives_its_tail(records, tmp_path, workers):
    loader = TrainLoader(records, options_of(tmp_path, workers), seed=3)
    whole = epoch_of(loader, 1)
    interrupted = loader(1)
    next(interrupted)
    interrupted.close()
    for first in (1, 2, 3):
        assert_same(epoch_of(loader, 1, first), whole[first:])


def test_two_processes_load_what_one_loads(records, tmp_path):
    alone = epoch_of(TrainLoader(records, options_of(tmp_path), seed=5), 2)
    parts = [epoch_of(TrainLoader(records, options_of(tmp_path), seed=5, rank=r, world=2), 2) for r in range(2)]
    joined = [[torch.cat(pair) for pair in zip(*batches, strict=True)] for batches in zip(*parts, strict=True)]
    assert_same(joined, alone)


@pytest.mark.parametrize("epoch", ["identities", "pairs", 3])
def test_every_kind_of_epoch_is_the_same_with_workers_after_a_restart_and_in_two_processes(records, tmp_path, epoch):
    options = options_of(tmp_path, epoch=epoch)
    loader = TrainLoader(records, options, seed=5)
    alone = epoch_of(loader, 1)
    assert len(alone) == loader.steps_in(1) > 0
    assert_same(epoch_of(TrainLoader(records, options_of(tmp_path, 2, epoch), seed=5), 1), alone)
    assert_same(epoch_of(loader, 1, 1), alone[1:])
    parts = [epoch_of(TrainLoader(records, options, seed=5, rank=r, world=2), 1) for r in range(2)]
    joined = [[torch.cat(pair) for pair in zip(*batches, strict=True)] for batches in zip(*parts, strict=True)]
    assert_same(joined, alone)


def test_epochs_positions_and_seeds_are_augmented_differently(records, tmp_path):
    one = [record for record in records if record.path.name.endswith("_0.png")]
    options = options_of(tmp_path)
    seen = [
        epoch_of(TrainLoader(one, options, seed=seed), epoch)[0] for seed, epoch in ((0, 0), (0, 1), (1, 0), (2, 0))
    ]
    images = torch.cat([batch.images for batch in seen])
    assert len({image.numpy().tobytes() for image in images}) > 0.8 * len(images)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_run_s_generators_alone(records, tmp_path, workers):
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global generator is what must not be touched
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    epoch_of(TrainLoader(records, options_of(tmp_path, workers), seed=0), 0)
    list(evaluation_batches(records, height=32, width=16, workers=workers))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_stops_training_by_its_name(records, tmp_path, workers):
    (path,) = spoil(records, identity="id2", kind=INFRARED, count=1)
    loader = TrainLoader(records, options_of(tmp_path, workers), seed=0)
    told = refusal_of(lambda: epochs_of(loader, 3))
    assert told.startswith(path)
    assert "Traceback" not in told


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_replaced_by_their_like_and_counted_once(records, tmp_path, workers):
    bad = spoil(records, identity="id2", kind=INFRARED, count=2)
    loader = TrainLoader(records, options_of(tmp_path, workers, on_bad_image="skip"), seed=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for batch in epochs_of(loader, 3):
            assert batch.modalities.tolist() == [0, 0, 1, 1] * 2
            assert len(set(batch.labels.tolist())) == 2
    assert loader.bad_images == bad
    named = [str(warning.message) for warning in told if "skipped unreadable" in str(warning.message)]
    assert sorted(named) == sorted(f"skipped unreadable image: {path}" for path in bad)


def test_an_identity_with_no_readable_image_of_a_modality_stops_even_when_skipping(records, tmp_path):
    spoil(records, identity="id2", kind=INFRARED, count=EACH)
    loader = TrainLoader(records, options_of(tmp_path, on_bad_image="skip"), seed=0)
    with pytest.raises(DataError, match=r"'id2': none of its 3 infrared training images"):
        epochs_of(loader, 3)


def test_channels_of_batches_are_drawn_by_seed_epoch_and_step_alone(records, tmp_path):
    def of(workers=0, seed=3, **channels):
        options = options_of(tmp_path, workers)
        augment = options.augment.model_copy(update={"channels": ChannelOptions(**channels)})
        return TrainLoader(records, options.model_copy(update={"augment": augment}), seed=seed)

    plain, changed = epoch_of(of(), 1), epoch_of(of(exchange=1.0), 1)
    for before, after in zip(plain, changed, strict=True):
        infrared = before.modalities == int(INFRARED)
        assert torch.equal(before.images[infrared], after.images[infrared])
        raw = (
            after.images[~infrared] * torch.tensor(IMAGENET.std)[:, None, None]
            + torch.tensor(IMAGENET.mean)[:, None, None]
        )
        assert float((raw.amax(1) - raw.amin(1)).max()) < 1e-5, "each shows one channel three times"
    everything = {"exchange": 0.5, "grey": 0.3, "erasing": 0.5}
    whole = epoch_of(of(**everything), 1)
    assert_same(whole, epoch_of(of(2, **everything), 1))
    assert_same(whole[2:], epoch_of(of(**everything), 1, 2))
    assert not torch.equal(whole[0].images, epoch_of(of(seed=4, **everything), 1)[0].images)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_a_cache_gives_the_same_batches_bad_images_included(records, tmp_path, cache, workers):
    spoil(records, identity="id2", kind=INFRARED, count=1)
    plain = TrainLoader(records, options_of(tmp_path, on_bad_image="skip"), seed=3)
    folder = tmp_path / "cache"
    kept = TrainLoader(
        records, options_of(tmp_path, workers, on_bad_image="skip", cache=cache, cache_folder=folder), seed=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(epochs_of(kept, 2), epochs_of(plain, 2))
        assert kept.bad_images == plain.bad_images != set()
        assert_same(epoch_of(kept, 1, 1), epoch_of(plain, 1)[1:])
    assert folder.is_dir() == (cache == "disk")


def test_what_is_cached_is_not_read_again(records, tmp_path):
    loader = TrainLoader(records, options_of(tmp_path, cache="memory"), seed=3)
    first = epoch_of(loader, 0)
    for record in records:
        record.path.unlink()
    assert_same(epoch_of(loader, 0), first)
    spoiled = TrainLoader(records, options_of(tmp_path), seed=3)
    assert "not found" in refusal_of(lambda: epoch_of(spoiled, 0))


@pytest.fixture
def on_device(monkeypatch):
    """A loader whose batches are finished as on a GPU, though by the CPU: what is sent stays where it is."""
    monkeypatch.setattr(training_loading, "all_sent", lambda value, device: value)
    monkeypatch.setattr(training_loading, "sent_ahead", lambda loaded, make, device: map(make, loaded))
    return partial(TrainLoader, device=torch.device("cuda"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [{}, {"sets": {"size": 3, "source": "identity"}}, {"cache": "memory"}])
def test_a_device_gives_the_batches_that_the_host_gives(records, tmp_path, workers, given, on_device):
    exact = {"flip": 0.5, "pad": 4, "pad_value": 9, "erasing": 0.5, "pseudo_infrared": 0.3}
    exact["channels"] = {"exchange": 0.5, "grey": 0.3, "erasing": 0.5}
    options = options_of(tmp_path, workers, **given)
    options = options.model_copy(update={"augment": AugmentOptions(**exact)})
    host, device = epoch_of(TrainLoader(records, options, seed=3), 1), epoch_of(on_device(records, options, seed=3), 1)
    for one, other in zip(host, device, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors_in(one)[1:], tensors_in(other)[1:], strict=True))
        assert one.images.shape == other.images.shape
        torch.testing.assert_close(other.images, one.images, atol=2e-6, rtol=0)  # sums of another order in memory


def test_a_device_gives_both_versions_of_joint_channels(records, tmp_path, on_device):
    options = options_of(tmp_path)
    augment = AugmentOptions(flip=0.5, pad=4, channels={"joint": True, "erasing": 0.5})
    options = options.model_copy(update={"augment": augment})
    host, device = epoch_of(TrainLoader(records, options, seed=3), 0), epoch_of(on_device(records, options, seed=3), 0)
    for one, other in zip(host, device, strict=True):
        assert len(one.images) == 12
        torch.testing.assert_close(other.images, one.images, atol=2e-6, rtol=0)
