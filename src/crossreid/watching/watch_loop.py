"""The loop of a watch: frames in, detections, tracks, tracklets, identities, and a step that keeps all of it together.

One process, one loop over all cameras. Between two pauses frames are detected and tracked as they come; at a pause the images of all
cameras' tracks pass the network at once, tracks are put right by them, and what is due is handed to the identities. That, the events
that follow, how far each camera has come and all that the trackers remember are kept in one step of the state: whenever the process
dies, what was kept is whole, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from crossreid.watching import checkpoint
from crossreid.watching.appearance import Likeness, revise
from crossreid.watching.detections import Detector
from crossreid.watching.embedding_tracklets import TrackletEmbedder, due_tracklets
from crossreid.watching.events import Event
from crossreid.watching.frame_order import Item, Pause
from crossreid.watching.frames import Frame
from crossreid.watching.tracking import CameraTracker
from crossreid.watching.tracklets import Tracklet


class WatchState(Protocol):
    """What the loop needs of a watch's state (`crossreid.watching.state`)."""

    def step(self) -> AbstractContextManager[object]: ...
    def progress(self, camera: str) -> tuple[int, float] | None: ...
    def note_progress(self, camera: str, index: int, time: float) -> None: ...
    def next_track(self, camera: str) -> int: ...


class Checkpoints(Protocol):
    """Where trackers are kept, in the same steps as the state."""

    def read(self, camera: str) -> bytes | None: ...
    def write(self, camera: str, content: bytes) -> None: ...


class WatchIdentities(Protocol):
    """What the loop needs of identities (`crossreid.watching.identities`)."""

    def observe(self, tracklet: Tracklet) -> list[Event]: ...
    def advance(self, camera: str, time: float) -> list[Event]: ...
    def end(self, camera: str) -> list[Event]: ...


@dataclass(eq=False, slots=True)
class CameraInHand:
    """A camera while it is watched.

    tracker: of it alone, as is the detector. done: the last frame whose outcome is kept or will be at the next pause, by index and time.
    frames, tracks: counted by this process.
    """

    name: str
    detector: Detector
    tracker: CameraTracker
    done: tuple[int, float] | None = None
    frames: int = 0
    tracks: set[int] = field(default_factory=set)
    fresh: bool = False

    def take(self, frame: Frame) -> None:
        """Detect and track. A frame that was done before is only shown to the detector, which may have to see it again."""
        detections = self.detector.detect(frame)
        if self.done is not None and frame.index <= self.done[0]:
            return
        self.tracker.update(frame, detections)
        self.done, self.fresh = (frame.index, frame.time), True
        self.frames += 1

    def resume(self, state: WatchState, checkpoints: Checkpoints) -> bool:
        """Go on from what is kept, if anything is; False where the tracker's memory can't be used, and it starts anew."""
        self.done = state.progress(self.name)
        kept = checkpoints.read(self.name)
        if kept is not None and checkpoint.restore(self.tracker, kept):
            return True
        self.tracker.next_number = max(self.tracker.next_number, state.next_track(self.name))
        return kept is None


class WatchLoop:
    """Watch until the frames are over or `stop` says so.

    Args:
        live: whether frames come as they arrive. Tracks are then finished when it is stopped, as its next frames come after a gap. Of
            films what was not kept is done again by the next process, which goes on as if nothing had been.
        until: the time of a frame from which on nothing is watched, None for no such time.
        kept: called after each step that was kept, with the events of it.
    """

    def __init__(
        self,
        cameras: Sequence[CameraInHand],
        embedder: TrackletEmbedder,
        likeness: Likeness,
        identities: WatchIdentities,
        state: WatchState,
        checkpoints: Checkpoints,
        *,
        live: bool = False,
        until: float | None = None,
        kept: Callable[[Sequence[Event]], object] = lambda events: None,
    ) -> None:
        self.cameras, self.embedder, self.likeness = cameras, embedder, likeness
        self.identities, self.state, self.checkpoints = identities, state, checkpoints
        self.live, self.until, self.kept = live, until, kept

    def run(self, items: Iterable[Item], stop: Callable[[], bool] = lambda: False) -> bool:
        """Whether the frames came to their end."""
        for item in items:
            if stop() or self._too_late(item):
                if self.live:
                    self._keep(range(len(self.cameras)))
                return False
            if isinstance(item, Pause):
                self._keep(item.over)
            else:
                position, frame = item
                self.cameras[position].take(frame)
        return True

    def _too_late(self, item: Item) -> bool:
        return self.until is not None and not isinstance(item, Pause) and item[1].time >= self.until

    def _keep(self, ended: Iterable[int]) -> None:
        """Put the tracks right, report what is due, and keep all of it; `ended` are the cameras of which no more frames come."""
        over = {id(self.cameras[position]) for position in ended}
        todo = [camera for camera in self.cameras if camera.fresh or id(camera) in over]
        if not todo:
            return
        self.embedder.embed([camera.tracker for camera in todo])
        events: list[Event] = []
        tracklets: list[Tracklet] = []
        for camera in todo:
            now = id(camera) in over
            revise(camera.tracker, self.likeness, now=now)
            tracklets += due_tracklets(camera.tracker, over=now)
        with self.state.step():
            for tracklet in tracklets:
                events += self.identities.observe(tracklet)
            for camera in todo:
                if camera.done is not None:
                    events += self.identities.advance(camera.name, camera.done[1])
                    self.state.note_progress(camera.name, *camera.done)
                if id(camera) in over:
                    events += self.identities.end(camera.name)
                self.checkpoints.write(camera.name, checkpoint.kept(camera.tracker))
        for camera in todo:
            camera.fresh = False
            camera.tracks |= {one.track for one in tracklets if one.camera == camera.name}
        self.kept(events)
