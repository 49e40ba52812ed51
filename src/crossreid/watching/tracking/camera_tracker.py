"""Tracking within a camera: detections, frame by frame, become tracks.

Which box continues which track is decided by the library `trackers` (ByteTrack, OC-SORT, BoT-SORT), from boxes and
times only. `appearance` adds appearance: it examines a camera's tracks between frames.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed
from crossreid.watching.detections import Detections
from crossreid.watching.frames import Frame
from crossreid.watching.tracking.key_frames import KeyFrames, areas_in_common, candidate_of, hidden, within
from crossreid.watching.tracking.track import Track
from crossreid.watching.tracking.tracking_options import TrackingOptions

_LIBRARY = {"bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker", "botsort": "BoTSORTTracker"}
_USUAL, _FASTEST = 25.0, 240.0  # frames per second
MET, APART = 0.15, 0.05  # intersection over union at which two tracks meet, and below which they are apart again


@dataclass(frozen=True, eq=False, slots=True)
class TrackedBox:
    """A box of a frame, `(4,)` as in `Detections`, its score, and its track."""

    track: Track
    box: np.ndarray
    score: float


@dataclass(eq=False, slots=True)
class Meeting:
    """Two tracks whose boxes overlapped: first in frame `began`, closest in frame `index`; `over` is the frame in which
    they are apart again, None until then."""

    one: Track
    other: Track
    began: int
    index: int
    time: float
    closest: float
    over: int | None = None

    def of(self, track: Track) -> bool:
        return track is self.one or track is self.other


class CameraTracker:
    """The tracks of one camera.

    Attributes:
        tracks: those seen now or recently; `ended` removes those that are final.
        meetings: those that may have swapped two tracks.
        next_number: the number of the next track that becomes known, from 1.
        done: the index and time of the last tracked frame, None before the first.
        modality: the modality of that frame.
    """

    def __init__(
        self,
        camera: str,
        options: TrackingOptions | None = None,
        *,
        frame_rate: float | None = None,
        next_number: int = 1,
        keep_images: bool = True,
    ) -> None:
        """`frame_rate`: frames per second seen, used by the tracker's motion model; by default measured from the first
        two frames, with the first held back until the second. `keep_images`: if False, BoT-SORT does not compensate
        camera motion, for which it would keep the last picture."""
        self.camera, self.options, self.next_number = camera, options or TrackingOptions(), next_number
        self.keep_images = keep_images
        self.library: Any = None if frame_rate is None else self._new_library(frame_rate)
        self.tracks: list[Track] = []
        self.meetings: list[Meeting] = []
        self.done: tuple[int, float] | None = None
        self.modality: Modality | None = None
        self._held: tuple[Frame, Detections] | None = None

    @property
    def time(self) -> float:
        """The time of the last tracked frame."""
        return -math.inf if self.done is None else self.done[1]

    def update(self, frame: Frame, detections: Detections) -> list[TrackedBox]:
        """Assign a frame's boxes to tracks; boxes without a track (too short so far) are left out.

        A frame that is not later than the previous one is skipped.
        """
        if self.library is None:
            if self._held is None:
                self._held = (frame, detections)
                return []
            passed = frame.time - self._held[0].time
            self.library = self._new_library(min(_FASTEST, 1 / passed) if passed > 0 else _USUAL)
            self._track_frame(*self._held)
            self._held = None
        return self._track_frame(frame, detections)

    def _track_frame(self, frame: Frame, detections: Detections) -> list[TrackedBox]:
        if frame.time <= self.time:
            return []
        self.done, self.modality = (frame.index, frame.time), frame.modality
        tracked = [TrackedBox(self._track(name), box, score) for name, box, score in self._joined(frame, detections)]
        for one in tracked:
            one.track.grow(frame.index, frame.time, one.box)
        boxes = np.array([one.box for one in tracked]).reshape(-1, 4)
        common = areas_in_common(boxes)
        self._meet(frame, tracked, overlaps(boxes, common))
        covered = hidden(boxes, common)
        for one, share in zip(tracked, covered.tolist(), strict=True):
            candidate = candidate_of(frame, one.box, share, one.track.key_frames.least_quality(frame.time))
            if candidate is not None:
                one.track.key_frames.offer(candidate)
        return tracked

    def _new_library(self, frame_rate: float) -> Any:
        return _library(self.options, frame_rate, self.keep_images)

    def seen(self, track: Track) -> bool:
        """Whether a track was seen in the last frame."""
        return track.end >= self.time

    def ended(self, *, now: bool = False) -> list[Track]:
        """Remove and return the final tracks, ordered by start; with `now`, all tracks."""
        patience = self.options.lost_after + self.options.rejoin_within
        over = [track for track in self.tracks if now or self.time - track.end > patience or self._too_long(track)]
        for track in over:
            track.library = None
        self._take_out(over)
        return over

    def forget(self, before: float) -> None:
        """Drop the tracks last seen before this time, with their images."""
        gone = [track for track in self.tracks if track.end < before]
        self._take_out(gone)
        for track in self.tracks:
            track.cut_from = None if track.cut_from in gone else track.cut_from

    def _take_out(self, gone: Sequence[Track]) -> None:
        """Remove tracks and their meetings."""
        self.tracks = [track for track in self.tracks if track not in gone]
        self.meetings = [meeting for meeting in self.meetings if not (meeting.one in gone or meeting.other in gone)]

    def number(self, track: Track) -> None:
        """Give the next number to a track that continues no other."""
        track.number, track.cut_from = self.next_number, None
        self.next_number += 1

    def join(self, lost: Track, later: Track) -> None:
        """Join two tracks: `later` is `lost`, seen again."""
        lost.append(later)
        self.tracks.remove(later)
        for meeting in self.meetings:
            meeting.one = lost if meeting.one is later else meeting.one
            meeting.other = lost if meeting.other is later else meeting.other

    def cut(self, track: Track, index: int) -> Track:
        """Cut a track that shows someone else from frame `index` on; returns that part as its own track."""
        tail = track.take_tail(index)
        self.tracks.append(tail)
        self.meetings = [meeting for meeting in self.meetings if not meeting.of(track)]
        return tail

    def _too_long(self, track: Track) -> bool:
        return track.end - track.start > self.options.longest

    def _track(self, name: int) -> Track:
        for track in self.tracks:
            if track.library == name:
                return track
        self.tracks.append(Track(self.camera, name, KeyFrames(self.options.key_frames)))
        return self.tracks[-1]

    def _joined(self, frame: Frame, detections: Detections) -> Iterator[tuple[int, np.ndarray, float]]:
        """The library's track id for each box that has one, in order of ids."""
        supervision = needed("supervision", "tracking")
        given = supervision.Detections(xyxy=detections.boxes, confidence=detections.scores)
        picture = frame.image[:, :, ::-1] if self.options.tracker == "botsort" and self.keep_images else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about empty frames and clocks that stand still, which are no errors here
            found = self.library.update(given, picture, timestamp=frame.time)
        order = np.argsort(found.tracker_id, kind="stable")
        for position in order:
            left, top, right, bottom = within(found.xyxy[position], frame.image)
            if found.tracker_id[position] >= 0 and right > left and bottom > top:
                yield int(found.tracker_id[position]), found.xyxy[position], float(found.confidence[position])

    def _meet(self, frame: Frame, tracked: list[TrackedBox], shared: np.ndarray) -> None:
        """Record which tracks meet and which are apart again; `shared` `(n, n)`: the boxes' overlaps."""
        rows = {id(one.track): row for row, one in enumerate(tracked)}
        known = {frozenset((id(meeting.one), id(meeting.other))): meeting for meeting in self.meetings}
        for row, column in zip(*(side.tolist() for side in np.nonzero(np.triu(shared > 0, 1))), strict=True):
            one, other, closeness = tracked[row].track, tracked[column].track, float(shared[row, column])
            meeting = known.get(frozenset((id(one), id(other))))
            if meeting is None or meeting.over is not None:
                if closeness >= MET:
                    self._begin(Meeting(one, other, frame.index, frame.index, frame.time, closeness), meeting)
            elif closeness > meeting.closest:
                meeting.index, meeting.time, meeting.closest = frame.index, frame.time, closeness
        for meeting in self.meetings:
            one_row, other_row = rows.get(id(meeting.one)), rows.get(id(meeting.other))
            if meeting.over is None and one_row is not None and other_row is not None:
                meeting.over = frame.index if shared[one_row, other_row] < APART else None

    def _begin(self, meeting: Meeting, before: Meeting | None) -> None:
        if before is not None:
            self.meetings.remove(before)
        self.meetings.append(meeting)
        for track in (meeting.one, meeting.other):
            track.key_frames.part()


def overlaps(boxes: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Intersection over union `(n, n)` float64 of boxes `(n, 4)`; `common`: their `areas_in_common`."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    shared = common.astype(np.float64)
    every = (areas[:, None] + areas[None]).astype(np.float64) - shared
    found: np.ndarray = np.divide(shared, every, out=np.zeros_like(shared), where=every > 0)
    return found


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    boxes = np.stack([one, other])
    return float(overlaps(boxes, areas_in_common(boxes))[0, 1])


def _library(options: TrackingOptions, frame_rate: float, keep_images: bool) -> Any:
    """The library's tracker. Its buffer counts frames at 30 per second; its patience is at least two of our frames."""
    trackers = needed("trackers", "tracking")
    settings: dict[str, Any] = {
        "frame_rate": frame_rate,
        "lost_track_buffer": int(np.ceil(30 * max(options.lost_after, 2 / frame_rate))),
        # Two boxes in a row make a track, or at high rates about a tenth of a second: a flicker is not a track.
        "minimum_consecutive_frames": max(2, round(0.1 * frame_rate)),
        "high_conf_det_threshold": options.new_track_score,
    }  # fmt: skip
    if options.tracker != "ocsort":
        settings["track_activation_threshold"] = options.new_track_score
    if options.tracker == "botsort":
        settings["enable_cmc"] = keep_images
    return getattr(trackers, _LIBRARY[options.tracker])(**settings)
