"""Assembling and running a watch: cameras, each with its own reading process, detector and tracker; the network; the
identities; and the event sinks."""

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

STEP = 1.0  # seconds, of film time or real time, between two committed steps
TRACKS_EACH = 60.0  # least seconds between two writings of the track files, which are rewritten from the first frame
_SHARE = 30  # writing them takes at most one second in this many, however long the watch
_FIRST = "first frame"  # the state's note with the time of the watch's first frame


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """A camera's counts in this process: frames watched and dropped, tracks, and frames per second."""

    camera: str
    frames: int
    dropped: int
    tracks: int
    rate: float


Report = Callable[[Sequence[CameraCounts], int], object]


class OpenWatch:
    """A watch ready to run.

    Args:
        held: closes the processes that are started here.
        report: called with the cameras' counts and the number of identities after each committed step.
        say: called with single-line messages about decisions.
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
                say(f"{hand.name}: its saved tracks are from another version; tracking starts anew.")
        self.sources = [held.enter_context(self._source(position)) for position in range(len(self.in_hand))]
        known = calibration or by_threshold(plan.tracking.rejoin_cosine)
        self.identities = Identities(state, known, plan.matching, plan.topology, gallery)
        self._uncompared: set[str] = set()  # pairs of modalities already reported
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
        self._counted: dict[tuple[int, str], int] = {}  # what the metrics already include
        self._lost: dict[str, str] = {}  # what was reported about each camera's connection

    def run(self, until: float | None = None) -> bool:
        """Watch to the films' end, or `until` seconds after the watch's first frame; returns whether they have ended.

        Raises:
            Interrupted: SIGINT or SIGTERM; everything is saved, and a stream's tracks are finished.
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
        """Counts per camera, in this process."""
        passed = max(time.monotonic() - self.begun, 1e-9)
        return tuple(
            CameraCounts(hand.name, hand.frames, source.counts.dropped, len(hand.tracks), hand.frames / passed)
            for hand, source in zip(self.in_hand, self.sources, strict=True)
        )

    def identity_count(self) -> int:
        """The number of identities with tracks, merged ones counted once."""
        return int(self.state.database.read("SELECT count(DISTINCT identity) FROM tracks")[0][0])

    def _source(self, position: int) -> FrameSource:
        hand, camera = self.in_hand[position], self.plan.cameras[position]
        first = hand.shown_until + 1
        if not self.plan.live:
            first = max(0, first - self.plan.detectors[position].remembers)
        # The tracker's modality is passed on unless a film is read from its beginning, which decides it again.
        known = hand.tracker.modality if first == hand.shown_until + 1 or first > 0 else None
        return open_source(camera, self.plan.reading, start_index=first, modality=known)

    def _items(self) -> Iterator[Item]:
        if self.plan.live:
            return by_arrival(self.sources, STEP, sources_with_news)
        return by_time(self.sources, STEP)

    def _limited(self, items: Iterator[Item], until: float) -> Iterator[Item]:
        """The same items, after setting the end time of the watch from the first of them."""
        for item in items:
            if isinstance(item, tuple) and self.loop.until is None:
                first = self.state.noted(_FIRST)
                if first is None:
                    first = repr(item[1].time)
                    self.state.note(_FIRST, first)
                self.loop.until = float(first) + until
            yield item

    def _too_late(self, until: float | None) -> bool:
        """Whether the end time has passed, for streams, which may stall, by this process's clock."""
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
                f"{pair}: the calibration has no curve for these, so they are not compared. Calibrate on images of both."
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
