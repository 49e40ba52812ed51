"""The loop of a watch: from frames to detections, tracks, tracklets and identities, all stored together in steps.

One process runs one loop over all cameras. Between two pauses, frames are detected and tracked as they come; at a
pause, the images of all cameras' tracks pass through the network at once, tracks are corrected by them, and due
tracklets are passed to the identities. That, the resulting events, each camera's progress and all tracker memory are
stored in one step of the state: whenever the process dies, the stored state is consistent, and the next process resumes
from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from crossreid.watching.detections import Detector
from crossreid.watching.events import Event
from crossreid.watching.frame_order import Item, Pause
from crossreid.watching.frames import Frame
from crossreid.watching.tracking import checkpoint
from crossreid.watching.tracking.appearance import Likeness, revise
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.embedding_tracklets import Due, TrackletEmbedder, due_tracklets
from crossreid.watching.tracklets import Tracklet


class WatchState(Protocol):
    """What the loop needs from a watch's state (`crossreid.watching.identities.state`)."""

    def step(self) -> AbstractContextManager[object]: ...
    def progress(self, camera: str) -> tuple[int, float] | None: ...
    def note_progress(self, camera: str, index: int, time: float) -> None: ...
    def next_track(self, camera: str) -> int: ...


class Checkpoints(Protocol):
    """Stores trackers, in the same steps as the state."""

    def read(self, camera: str) -> bytes | None: ...
    def write(self, camera: str, content: bytes) -> None: ...


class WatchIdentities(Protocol):
    """What the loop needs from identities (`crossreid.watching.identities.across_cameras`)."""

    def observe_all(self, tracklets: Sequence[Tracklet]) -> list[Event]: ...
    def advance(self, camera: str, time: float) -> list[Event]: ...
    def ended(self, camera: str) -> list[Event]: ...
    def answer_requests(self) -> list[Event]: ...
    def take_forgotten(self) -> float | None: ...


@dataclass(eq=False, slots=True)
class CameraInHand:
    """A camera while it is watched, with its detector and tracker; frames and tracks are counted in this process."""

    name: str
    detector: Detector
    tracker: CameraTracker
    shown_until: int = -1
    frames: int = 0
    tracks: set[int] = field(default_factory=set)
    fresh: bool = False

    def take(self, frame: Frame) -> None:
        """Detect and track. A frame processed before is only passed to the detector, whose state may need it."""
        detections = self.detector.detect(frame)
        if frame.index > self.shown_until:
            self.tracker.update(frame, detections)
            self.frames += 1
            self.fresh = True

    def resume(self, state: WatchState, checkpoints: Checkpoints) -> bool:
        """Resume from what is stored, if anything; False if the tracker's memory can't be used and it starts anew."""
        done = state.progress(self.name)
        self.shown_until = -1 if done is None else done[0]
        kept = checkpoints.read(self.name)
        if kept is not None and checkpoint.restore(self.tracker, kept):
            return True
        self.tracker.next_number = max(self.tracker.next_number, state.next_track(self.name))
        return kept is None


class WatchLoop:
    """Watch until the frames end or `stop` returns True.

    Args:
        live: whether frames come as they arrive. Tracks are then finished on stopping, as the next frames come after a
            gap. For films, the next process repeats what was not stored and continues as if nothing had happened.
        until: the frame time at which to stop, None for no limit.
        kept: called after each committed step, with its events.
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
        """Run the loop; returns whether the frames have ended."""
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
        """Correct the tracks, report what is due, and store everything; `ended` are cameras without further frames."""
        over = {id(self.cameras[position]) for position in ended}
        todo = [camera for camera in self.cameras if camera.fresh or id(camera) in over]
        if not todo:
            return
        self.embedder.embed([camera.tracker for camera in todo])
        due: list[Due] = []
        for camera in todo:
            revise(camera.tracker, self.likeness, now=id(camera) in over)
            due.append(due_tracklets(camera.tracker, over=id(camera) in over))
        tracklets = [tracklet for one in due for tracklet in one.tracklets]
        cut = [tracklet for one in due for tracklet in one.cut]
        with self.state.step():
            events = self.identities.answer_requests()
            before = self.identities.take_forgotten()
            if before is not None:
                tracklets, cut = ([one for one in every if one.end >= before] for every in (tracklets, cut))
                self._forget(before, todo)
            for together in (cut, tracklets):
                events += self.identities.observe_all(together) if together else []
            for camera in todo:
                events += self._ended(camera) if id(camera) in over else self._came_to(camera)
                self.checkpoints.write(camera.name, checkpoint.kept(camera.tracker))
        for camera in todo:
            camera.fresh = False
            camera.tracks |= {one.track for one in tracklets if one.camera == camera.name}
        self.kept(events)

    def _forget(self, before: float, kept_later: Sequence[CameraInHand]) -> None:
        """Drop the trackers' memory from before this time."""
        for camera in self.cameras:
            camera.tracker.forget(before)
            if camera not in kept_later and camera.tracker.done is not None:
                self.checkpoints.write(camera.name, checkpoint.kept(camera.tracker))

    def _came_to(self, camera: CameraInHand) -> list[Event]:
        done = camera.tracker.done
        if done is None:
            return []
        self.state.note_progress(camera.name, *done)
        return self.identities.advance(camera.name, done[1])

    def _ended(self, camera: CameraInHand) -> list[Event]:
        return self._came_to(camera) + self.identities.ended(camera.name)
