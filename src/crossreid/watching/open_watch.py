"""A watch put together and run: cameras, each read by a process of its own, a detector and a tracker for each, network, identities,
and where events go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from crossreid.evaluation.calibration import Calibration
from crossreid.galleries.gallery import Gallery
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.training.signals import Interrupted, stop_signals
from crossreid.watching.cameras import is_address
from crossreid.watching.events import Event
from crossreid.watching.frame_order import Item, by_arrival, by_time
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.posterior import by_threshold
from crossreid.watching.identities.state import State
from crossreid.watching.mot_files import write_mot_files
from crossreid.watching.sinks.metrics import WatchMetrics
from crossreid.watching.sinks.outlets import Outlets
from crossreid.watching.tracking.appearance import Likeness
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.embedding_tracklets import TrackletEmbedder, spare_processors
from crossreid.watching.tracking.kept_trackers import KeptTrackers
from crossreid.watching.video.sources import FrameSource, open_source, sources_with_news
from crossreid.watching.watch_loop import CameraInHand, WatchLoop
from crossreid.watching.watch_settings import WatchPlan

STEP = 1.0  # seconds, of film or of time, between two steps that are kept
TRACKS_EACH = (
    60.0  # seconds between two writings of the files of tracks, which are written anew from the first frame on: they
)
_SHARE = 30  # take no more than one second in so many, however long it is watched
_FIRST = "first frame"  # the note of the state with the time of the watch's first frame


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """Of a camera, by this process: frames that were watched and that were dropped, tracks, and frames a second."""

    camera: str
    frames: int
    dropped: int
    tracks: int
    rate: float


Report = Callable[[Sequence[CameraCounts], int], object]


class OpenWatch:
    """A watch that is ready to run.

    Args:
        held: closes the processes that are begun here.
        report: called with the cameras' counts and the number of identities after each step that was kept.
        say: called with one line about what was decided.
    """

    def __init__(
        self,
        plan: WatchPlan,
        model: EmbeddingModel,
        calibration: Calibration | None,
        gallery: Gallery | None,
        state: State,
        outlets: Outlets,
        held: ExitStack,
        *,
        report: Report,
        say: Callable[[str], object],
    ) -> None:
        self.plan, self.state, self.outlets, self.report, self.say = plan, state, outlets, report, say
        checkpoints = KeptTrackers(state.database)
        self.in_hand = [
            CameraInHand(
                camera.name, detector, CameraTracker(camera.name, plan.tracking, keep_images=plan.settings.keep_images)
            )
            for camera, detector in zip(plan.cameras, plan.detectors, strict=True)
        ]
        for hand in self.in_hand:
            if not hand.resume(state, checkpoints):
                say(f"{hand.name}: tracks were kept by another version, and begin anew.")
        self.sources = [held.enter_context(self._source(position)) for position in range(len(self.in_hand))]
        known = calibration or by_threshold(plan.tracking.rejoin_cosine)
        self.identities = Identities(state, known, plan.matching, plan.topology, gallery)
        self._uncompared: set[str] = set()  # pairs of modalities that were named
        embedder = TrackletEmbedder(
            model, keep_images=plan.settings.keep_images, threads=spare_processors(len(self.in_hand))
        )
        self.loop = WatchLoop(
            self.in_hand, embedder,
            Likeness(plan.tracking, None if calibration is None else calibration.of_sets()), self.identities, state,
            checkpoints, live=plan.live, kept=self._kept,
        )  # fmt: skip
        self.begun = time.monotonic()
        self._tracks_due = self.begun + TRACKS_EACH
        self._counted: dict[tuple[int, str], int] = {}  # what the figures have been told
        self._lost: dict[str, str] = {}  # what was said of each camera's connection

    def run(self, until: float | None = None) -> bool:
        """Watch to the end of the films, or `until` so many seconds after the watch's first frame; whether they are at their end.

        Raises:
            Interrupted: SIGINT or SIGTERM; all is kept, and a stream's tracks are finished.
        """
        items = self._items()
        with stop_signals() as received:
            if until is not None:
                items = self._limited(items, until)
            complete = self.loop.run(items, stop=lambda: bool(received) or self._too_late(until))
            self.outlets.flush()
            self._write_tracks()
        if received:
            raise Interrupted(received[0])
        return complete

    def counts(self) -> tuple[CameraCounts, ...]:
        """Of each camera, by this process."""
        passed = max(time.monotonic() - self.begun, 1e-9)
        return tuple(
            CameraCounts(hand.name, hand.frames, source.counts.dropped, len(hand.tracks), hand.frames / passed)
            for hand, source in zip(self.in_hand, self.sources, strict=True)
        )

    def identity_count(self) -> int:
        """Identities that have tracks, merged ones counted once."""
        return int(self.state.database.read("SELECT count(DISTINCT identity) FROM tracks")[0][0])

    def _source(self, position: int) -> FrameSource:
        hand, camera = self.in_hand[position], self.plan.cameras[position]
        first = hand.shown_until + 1
        if not self.plan.live:
            first = max(0, first - self.plan.detectors[position].remembers)
        # What a film's light was is decided by the frames that are shown again, or else by what it was.
        known = hand.tracker.modality if first == hand.shown_until + 1 or first > 0 else None
        return open_source(camera, self.plan.reading, start_index=first, modality=known)

    def _items(self) -> Iterator[Item]:
        if self.plan.live:
            return by_arrival(self.sources, STEP, sources_with_news)
        return by_time(self.sources, STEP)

    def _limited(self, items: Iterator[Item], until: float) -> Iterator[Item]:
        """The same items, once the loop knows by the first of them from which time on nothing is watched."""
        for item in items:
            if isinstance(item, tuple) and self.loop.until is None:
                first = self.state.noted(_FIRST)
                if first is None:
                    first = repr(item[1].time)
                    self.state.note(_FIRST, first)
                self.loop.until = float(first) + until
            yield item

    def _too_late(self, until: float | None) -> bool:
        """Of streams, which may stand still, by the clock of this process."""
        return self.plan.live and time.monotonic() - self.begun >= (math.inf if until is None else until)

    def _write_tracks(self) -> None:
        begun = time.monotonic()
        write_mot_files(self.state.folder, self.state, [camera.name for camera in self.plan.cameras])
        ended = time.monotonic()
        self._tracks_due = ended + max(TRACKS_EACH, _SHARE * (ended - begun))

    def _kept(self, events: Sequence[Event]) -> None:
        self.outlets.flush()
        if time.monotonic() >= self._tracks_due or any(event.by is not None for event in events):
            self._write_tracks()
        for source in self.sources:
            if source.lost != self._lost.get(source.camera.name, ""):
                self._lost[source.camera.name] = source.lost
                self.say(f"{source.camera.name}: {source.lost or 'is there again.'}")
        counts = self.counts()
        identities = self.identity_count()
        if self.outlets.metrics is not None:
            self._measure(self.outlets.metrics, identities)
        for pair in sorted(self.identities.uncompared - self._uncompared):
            self._uncompared.add(pair)
            self.say(
                f"{pair}: the calibration has no curve of these, and they are not compared. Calibrate on images of both."
            )
        self.report(counts, identities)

    def _measure(self, metrics: WatchMetrics, identities: int) -> None:
        metrics.identities.set(identities)
        for hand, source in zip(self.in_hand, self.sources, strict=True):
            for figure, now in (
                (metrics.decoded, source.counts.decoded), (metrics.dropped, source.counts.dropped), (metrics.tracks, len(hand.tracks)),
            ):  # fmt: skip
                one = figure.labels(hand.name)
                one.inc(max(0, now - self._counted.get((id(figure), hand.name), 0)))
                self._counted[id(figure), hand.name] = now
            metrics.queued.labels(hand.name).set(source.counts.waiting)
            if is_address(source.camera.source) and hand.tracker.done is not None:
                metrics.behind.labels(hand.name).set(max(0.0, time.time() - hand.tracker.done[1]))
