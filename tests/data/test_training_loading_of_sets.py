"""Sets as training samples: where their images come from, and what happens where there are too few or broken ones."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crossreid.data.data_options import DataOptions
from crossreid.data.records import DataError, Modality, Record
from crossreid.data.training_loading import TrainLoader

LENGTHS = {"s": 5, "t": 2}


@pytest.fixture
def films(tmp_path):
    """Four identities, three cameras (the third infrared); tracklets of five frames and of two. Each image one grey level."""
    records = []
    for identity in range(4):
        for camera in (1, 2, 3):
            modality = Modality.INFRARED if camera == 3 else Modality.VISIBLE
            for film, length in LENGTHS.items():
                for frame in range(length):
                    path = tmp_path / f"{identity}-{camera}-{film}-{frame}.png"
                    level = len(records)
                    Image.new("RGB", (16, 16), (level, level, level)).save(path)
                    records.append(Record(path, str(identity), camera, modality, film, frame=frame))
    return records


def loader_of(records, *, identities=2, images=2, balance="none", workers=0, bad="stop", seed=0, **sets):
    options = DataOptions(
        name="manifest", root=Path("."), height=16, width=16, workers=workers, on_bad_image=bad,
        augment={"flip": 0.0, "pad": 0}, sampler={"identities": identities, "images": images, "balance": balance},
        sets=sets,
    )  # fmt: skip
    return TrainLoader(records, options, seed=seed)


def shown(records, batch):
    """The record of each image `(B, N)`: by its grey level."""
    levels = (batch.images[:, :, 0, 0, 0] * 0.229 + 0.485) * 255
    return [[records[int(level.round())] for level in row] for row in levels]


def sets_of(records, loader, epochs=3):
    return [row for epoch in range(epochs) for batch in loader(epoch) for row in shown(records, batch)]


def test_a_batch_of_sets_describes_each_image(films):
    loader = loader_of(films, size=3)
    assert len(loader) == 24 // 4  # an epoch is as many sets as there are tracklets
    for batch in loader(0):
        assert batch.images.shape == (4, 3, 3, 16, 16)
        assert batch.labels.shape == (4,)
        for row, seen in enumerate(shown(films, batch)):
            assert [int(m) for m in batch.modalities[row]] == [int(r.modality) for r in seen]
            assert batch.cameras[row].tolist() == [r.camera for r in seen]
            assert {int(r.identity) for r in seen} == {int(batch.labels[row])}
        assert [count for _, count in Counter(batch.labels.tolist()).items()] == [2, 2]


@pytest.mark.parametrize("draw", ["chunks", "random"])
def test_a_tracklets_set_is_of_one_film(films, draw):
    for seen in sets_of(films, loader_of(films, size=3, draw=draw)):
        assert len({(r.camera, r.tracklet) for r in seen}) == 1
        times = Counter(r.frame for r in seen)
        if seen[0].tracklet == "s":
            assert set(times.values()) == {1}
        else:  # shorter than the set: each frame once or twice
            assert sorted(times.values()) == [1, 2]


def test_views_of_tracklets_and_chunks_that_the_last_frame_fills_up(films):
    for seen in sets_of(films, loader_of(films, size=8, source="tracklets")):
        times = Counter((r.camera, r.tracklet) for r in seen)
        assert len(times) == 6
        assert max(times.values()) == 2
    for seen in sets_of(films, loader_of(films, size=4, draw="padded_chunks")):
        assert len({(r.camera, r.tracklet) for r in seen}) == 1
        frames = sorted(r.frame for r in seen)
        if seen[0].tracklet == "s":  # five frames in chunks of two: 0 or 1, 2 or 3, 4, 4
            assert frames[0] < 2 <= frames[1] < 4 == frames[2] == frames[3]
        else:
            assert frames == [0, 1, 1, 1]


def test_of_sets_of_one_image_an_item_may_be_a_tracklet(films):
    loader = loader_of(films, items="tracklets", images=6)
    assert len(loader) == 24 // 12
    frames = Counter()
    for epoch in range(12):
        for batch in loader(epoch):
            assert batch.images.shape == (12, 3, 16, 16)
            for records in shown(films, batch._replace(images=batch.images[:, None])):
                frames[records[0].tracklet, records[0].frame] += 1
    assert {frame for film, frame in frames if film == "s"} == set(range(5))
    by_film = Counter()
    for (film, _), times in frames.items():
        by_film[film] += times
    assert len(set(by_film.values())) == 1, "each tracklet as often, however long"


def test_cameras_share_a_set(films):
    for seen in sets_of(films, loader_of(films, size=6, source="cameras")):
        assert sorted(Counter(r.camera for r in seen).values()) == [2, 2, 2]
        assert len(set(seen)) == 6


@pytest.mark.parametrize("balance", ["modality", "auto"])
def test_with_balance_a_set_is_of_one_modality(films, balance):
    loader = loader_of(films, size=4, source="cameras", balance=balance)
    for batch in loader(0):
        rows = shown(films, batch)
        assert all(len({r.modality for r in seen}) == 1 for seen in rows)
        assert Counter((r[0].identity, r[0].modality) for r in rows).most_common()[0][1] == 1
    visible = [seen for seen in sets_of(films, loader) if seen[0].modality == Modality.VISIBLE]
    assert all(sorted(Counter(r.camera for r in seen).values()) == [2, 2] for seen in visible)


def test_without_camera_labels_any_images_of_the_identity(films):
    rows = sets_of(films, loader_of(films, size=4, source="identity"), epochs=60)
    cameras = Counter(tuple(sorted(Counter(r.camera for r in seen).values())) for seen in rows)
    assert len(cameras) > 2  # not shared out
    assert all(len(set(seen)) == 4 for seen in rows)
    times = Counter(r.path.name for seen in rows for r in seen)
    expected = 4 * len(rows) / len(films)
    assert len(times) == len(films)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in times.values())


def test_order_in_a_set_is_random_so_that_its_first_are_a_uniform_draw(films):
    rows = sets_of(films, loader_of(films, size=5), epochs=60)
    long = [seen for seen in rows if seen[0].tracklet == "s"]
    first = np.bincount([seen[0].frame for seen in long], minlength=5) / len(long)
    assert np.allclose(first, 0.2, atol=0.08)


@pytest.mark.parametrize("source", ["tracklet", "cameras", "identity"])
def test_batches_depend_on_seed_epoch_and_position_alone(films, source):
    def epoch(number, first=0, workers=0, seed=0):
        return [b.images for b in loader_of(films, size=3, source=source, workers=workers, seed=seed)(number, first)]

    whole = epoch(1)
    for again in (epoch(1), epoch(1, workers=2), [*whole[:2], *epoch(1, first=2)]):
        assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    for other in (epoch(2), epoch(1, seed=1)):
        assert not all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))


def test_one_camera_and_one_image_are_enough(films):
    alone = [r for r in films if r.camera == 1 and r.tracklet == "t" and r.frame == 0]
    for seen in sets_of(films, loader_of(alone, size=3, source="cameras")):
        assert len(set(seen)) == 1


def test_one_identity_cannot_be_told_from_others(films):
    with pytest.raises(DataError, match="only 1 training identities exist"):
        loader_of([r for r in films if r.identity == "0"], size=3)


def test_a_broken_frame_stops_or_is_replaced_by_one_of_its_film(films):
    broken = [r for r in films if r.frame == 1 and r.tracklet == "s"]
    for record in broken:
        record.path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"-s-1\.png"):
        sets_of(films, loader_of(films, size=5))
    loader = loader_of(films, size=5, bad="skip")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = sets_of(films, loader)
    assert loader.bad_images == {str(r.path) for r in broken}
    assert len(told) == len(broken)
    for seen in rows:
        assert len({(r.identity, r.camera, r.tracklet) for r in seen}) == 1
        assert not set(seen) & set(broken)
    for record in films:
        if record.identity == "2" and record.camera == 3:
            record.path.unlink(missing_ok=True)
    with pytest.raises(DataError, match="identity '2': none of its 7 infrared training images can be read"):
        sets_of(films, loader_of(films, size=5, bad="skip"), epochs=6)
