"""From the images of tracks to embeddings and tracklets: all cameras' images in one pass, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from crossreid.data.records import Modality
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.processors import processors
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.key_frames import Candidate, embedding_of
from crossreid.watching.tracking.track import Track
from crossreid.watching.tracklets import Tracklet

BATCH = 64


class TrackletEmbedder:
    """Embeds the images that represent tracks. `count` is the number embedded so far.

    threads: CPU threads to use, None for the default.
    """

    def __init__(
        self, model: EmbeddingModel, *, keep_images: bool = True, batch: int = BATCH, threads: int | None = None
    ) -> None:
        self.model, self.keep_images, self.batch, self.count = model, keep_images, batch, 0
        self.threads = threads

    def embed(self, trackers: Sequence[CameraTracker]) -> None:
        """Embed the new images of all cameras' tracks; afterwards no pixels are held."""
        new = [
            candidate
            for tracker in trackers
            for track in tracker.tracks
            for candidate in track.key_frames.all
            if candidate.feature is None
        ]
        with _on_threads(self.threads) if new else nullcontext():
            for first in range(0, len(new), self.batch):
                self._pass(new[first : first + self.batch])

    def _pass(self, candidates: Sequence[Candidate]) -> None:
        # As in `crossreid.inference.embedding_model.prepared` for files: the same pixels give the same numbers.
        images = torch.stack([self.model.transform(candidate.crop) for candidate in candidates])  # type: ignore[arg-type]
        modalities = torch.tensor([int(candidate.modality) for candidate in candidates])
        features = self.model.features(images, modalities).numpy()
        for candidate, feature in zip(candidates, features, strict=True):
            candidate.embedded(feature.copy(), keep_image=self.keep_images)
        self.count += len(candidates)


def spare_processors(cameras: int) -> int:
    """The number of processors left besides those that read this many cameras; at least one.

    One thread too many costs more than it gains: torch's threads spin-wait for each other several times per layer, and
    if one of them has to wait for its processor, all do.
    """
    return max(1, processors() - cameras)


@contextmanager
def _on_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, count or before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Due:
    """Tracklets to report, each track at most once in either.

    cut: the still valid parts of reported tracks that have switched identity, to be reported first: the receiver
    removes the rest of those tracks. tracklets: the tracks as they are now.
    """

    cut: tuple[Tracklet, ...]
    tracklets: tuple[Tracklet, ...]


def due_tracklets(tracker: CameraTracker, *, over: bool = False) -> Due:
    """What to report now about a camera's tracks, whose images must be embedded; `over` means there are no more frames.

    A track is reported once it has lasted for a moment, regularly while it lasts, when it changes, and when it ends.
    """
    tracks = [track for track in tracker.tracks if track.number is not None]
    ended = {id(track) for track in tracker.ended(now=over)}
    due = [track for track in tracks if id(track) in ended or _is_due(track, tracker)]
    due.sort(key=lambda track: track.number or 0)
    cut = [_version(track, finished=False, until=track.holds) for track in due if _was_more(track)]
    now = [_version(track, finished=id(track) in ended) for track in due]
    for track in due:
        track.reported, track.joined, track.holds = track.end, False, None
    return Due(tuple(one for one in cut if one is not None), tuple(one for one in now if one is not None))


def _is_due(track: Track, tracker: CameraTracker) -> bool:
    if track.reported is None or track.joined or track.holds is not None:
        return True
    return track.end - track.reported >= tracker.options.again_after


def _was_more(track: Track) -> bool:
    return track.reported is not None and track.holds is not None and track.indexes[-1] > track.holds


def _version(track: Track, *, finished: bool, until: int | None = None) -> Tracklet | None:
    """A track as it is, or as it was until a frame; None if it has no images."""
    every = track.key_frames.all
    if not every or track.number is None:
        return None
    images = [candidate for candidate in every if until is None or candidate.index <= until] or every
    count = len(track.indexes) if until is None else int(np.searchsorted(track.indexes, until, side="right"))
    return Tracklet(
        track.camera, track.number, _modality(images), np.array(track.indexes[:count], dtype=np.int64),
        np.array(track.times[:count]), np.stack(track.boxes[:count]), tuple(image.key_frame() for image in images),
        embedding_of(images), finished,
    )  # fmt: skip


def _modality(images: Sequence[Candidate]) -> Modality:
    """The modality of most images; in a tie, the latest."""
    counts = Counter(image.modality for image in images)
    return max(counts, key=lambda modality: (counts[modality], modality == images[-1].modality))
