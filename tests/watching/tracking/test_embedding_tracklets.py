"""Tracklets' embeddings: the same as of files, each image once, all cameras together; and what is reported when."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from crossreid.data.images import load_image
from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.inference.embedding_model import prepared
from crossreid.inference.open_model import open_model
from crossreid.watching.tracking.appearance import Likeness, revise
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.embedding_tracklets import TrackletEmbedder, due_tracklets
from crossreid.watching.tracking.tracking_options import TrackingOptions
from small_model import recipe_of, write_run
from walking_people import RATE, ColourModel, Walker, along, detections_of, film, turning


def track(shot, options=None, camera="gate"):
    tracker = CameraTracker(camera, options, frame_rate=RATE)
    for image, shown in zip(*shot, strict=True):
        tracker.update(image, detections_of(shown))
    return tracker


@pytest.fixture(scope="module")
def shot():
    return film([Walker(1, along(20, 120, 2.5))], 2.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, recipe_of(), 5)
    return open_model(folder, device="cpu")


def test_an_embedding_is_that_of_the_same_crops_as_files(shot, model, tmp_path):
    tracker = track(shot)
    crops = [one.crop for one in tracker.tracks[0].key_frames.all]
    records = []
    for number, crop in enumerate(crops):
        Image.fromarray(crop).save(tmp_path / f"{number}.png")
        assert np.array_equal(load_image(tmp_path / f"{number}.png"), crop)
        records.append(Record(tmp_path / f"{number}.png", "a", modality=VISIBLE))
    TrackletEmbedder(model).embed([tracker])
    revise(tracker, Likeness(tracker.options), now=True)
    (tracklet,) = due_tracklets(tracker, over=True).tracklets
    images, modalities = prepared(model, records)
    expected = model.embed_sets(images, modalities, [range(len(records))])[0]
    assert len(records) > 3
    assert torch.allclose(torch.from_numpy(tracklet.embedding), expected, atol=1e-6)
    assert np.linalg.norm(tracklet.embedding) == pytest.approx(1, abs=1e-6)
    for made, crop in zip(tracklet.key_frames, crops, strict=True):
        assert made.crop.shape == crop.shape


def test_images_of_all_cameras_pass_together_and_once():
    shots = {name: film([Walker(one, along(20, 120, 2.5))], 2.5, camera=name) for name, one in (("a", 1), ("b", 3))}
    trackers = [track(one, camera=name) for name, one in shots.items()]
    model = ColourModel()
    embedder = TrackletEmbedder(model, batch=10)
    count = sum(len(tracker.tracks[0].key_frames.all) for tracker in trackers)
    embedder.embed(trackers)
    assert sum(model.passes) == embedder.count == count
    assert model.passes[0] == 10  # of both cameras
    embedder.embed(trackers)
    assert embedder.count == count


def test_the_modality_is_that_of_most_images_and_each_is_embedded_as_its_own(shot):
    night = film([Walker(1, along(20, 120, 2.5))], 2.5, modality=INFRARED)
    mixed = ([*shot[0][:15], *night[0][15:]], shot[1])
    tracker, seen = track(mixed), []

    class Noting(ColourModel):
        def features(self, images, modalities):
            seen.extend(modalities.tolist())
            return super().features(images, modalities)

    TrackletEmbedder(Noting()).embed([tracker])
    images = tracker.tracks[0].key_frames.all
    assert seen == [int(image.index >= 15) for image in images]
    assert {0, 1} == set(seen)
    revise(tracker, Likeness(tracker.options), now=True)
    (tracklet,) = due_tracklets(tracker, over=True).tracklets
    assert int(tracklet.modality) == round(np.mean(seen))


def test_a_track_is_reported_early_then_now_and_then_and_at_its_end():
    options = TrackingOptions(first_after=0.5, again_after=2.0, lost_after=0.5, rejoin_within=0.5)
    frames, truth = film([Walker(1, along(20, 220, 7))], 10)
    tracker, embedder, told = CameraTracker("gate", options, frame_rate=RATE), TrackletEmbedder(ColourModel()), []
    for image, shown in zip(frames, truth, strict=True):
        tracker.update(image, detections_of(shown))
        if image.index % 5 == 4:
            embedder.embed([tracker])
            revise(tracker, Likeness(options))
            due = due_tracklets(tracker)
            assert due.cut == ()
            told += [(image.time, one.end, one.finished) for one in due.tracklets]
    assert told[0][0] <= 1.0
    ends = [end for _, end, finished in told if not finished]
    assert all(later - end >= 1.9 for end, later in pairwise(ends))
    assert len(ends) == 4
    assert [finished for _, _, finished in told] == [False] * len(ends) + [True]
    assert told[-1][0] - told[-1][1] <= 2.1


def test_a_flicker_is_no_track():
    frames, truth = film(
        [Walker(1, along(20, 220, 7)), Walker(3, lambda time: (60, 118, 40) if time < 0.25 else None)], 3
    )
    tracker, embedder = (
        CameraTracker("gate", TrackingOptions(shortest=0.3), frame_rate=RATE),
        TrackletEmbedder(ColourModel()),
    )
    for image, shown in zip(frames, truth, strict=True):
        tracker.update(image, detections_of(shown))
    assert len(tracker.tracks) == 2
    embedder.embed([tracker])
    revise(tracker, Likeness(tracker.options), now=True)
    (tracklet,) = due_tracklets(tracker, over=True).tracklets
    assert tracklet.track == 1
    assert tracklet.end > 2


def test_of_a_track_that_changed_hands_what_still_holds_is_reported_first():
    frames, truth = film([Walker(1, turning(70, 1)), Walker(3, turning(170, -1), 270)], 5)
    tracker, embedder = CameraTracker("gate", frame_rate=RATE), TrackletEmbedder(ColourModel())
    cut, last = [], {}
    for image, shown in zip(frames, truth, strict=True):
        tracker.update(image, detections_of(shown))
        if image.index % 10 == 9 or image is frames[-1]:
            embedder.embed([tracker])
            over = image is frames[-1]
            revise(tracker, Likeness(tracker.options), now=over)
            due = due_tracklets(tracker, over=over)
            cut += [(one.track, one.end, last[one.track].end, one.finished) for one in due.cut]
            last |= {one.track: one for one in due.tracklets}
    assert sorted(one[0] for one in cut) == [1, 2]
    for _, end, before, finished in cut:
        assert end < before
        assert not finished
    assert all(one.finished and one.end > 4.5 for one in last.values())


def test_no_more_threads_than_there_is_room_for_and_the_others_get_theirs_back(shot, monkeypatch):
    used, before = [], torch.get_num_threads()
    model = ColourModel()
    embed = model.features
    monkeypatch.setattr(model, "features", lambda *given: used.append(torch.get_num_threads()) or embed(*given))
    try:
        torch.set_num_threads(2)
        for threads in (1, None, 5):
            TrackletEmbedder(model, threads=threads).embed([track(shot)])
        assert used == [1, 2, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
