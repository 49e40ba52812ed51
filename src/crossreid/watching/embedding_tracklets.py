"""From the images of tracks to embeddings: those of all cameras in one pass, each image once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.watching.appearance import embedding_of, ready
from crossreid.watching.key_frames import Candidate
from crossreid.watching.track import Track
from crossreid.watching.tracking import CameraTracker
from crossreid.watching.tracklets import Tracklet

BATCH = 64


class TrackletEmbedder:
    """Embeds the images that stand for tracks. `count` is how many it has embedded."""

    def __init__(self, model: EmbeddingModel, *, keep_images: bool = True, batch: int = BATCH) -> None:
        self.model, self.keep_images, self.batch, self.count = model, keep_images, batch, 0

    def embed(self, trackers: Sequence[CameraTracker], *, over: Sequence[CameraTracker] = ()) -> None:
        """Embed what is new among the images of all cameras' tracks; of those `over` there will be no more frames."""
        new = [
            candidate
            for tracker in trackers
            for track in tracker.tracks
            if ready(track, tracker, now=tracker in over)
            for candidate in track.key_frames.all
            if candidate.feature is None
        ]
        for first in range(0, len(new), self.batch):
            self._pass(new[first : first + self.batch])

    def tracklet(self, track: Track, *, finished: bool) -> Tracklet:
        """What is known of a track all of whose images are embedded."""
        return track.tracklet(embedding_of(track.key_frames.all), finished=finished)

    def _pass(self, candidates: Sequence[Candidate]) -> None:
        # As `crossreid.inference.embedding_model.prepared` does it with files: the same pixels give the same numbers.
        images = torch.stack([self.model.transform(candidate.crop) for candidate in candidates])  # type: ignore[arg-type]
        modalities = torch.tensor([int(candidate.modality) for candidate in candidates])
        features = self.model.features(images, modalities).numpy()
        for candidate, feature in zip(candidates, features, strict=True):
            candidate.embedded(feature.copy(), keep_image=self.keep_images)
        self.count += len(candidates)
