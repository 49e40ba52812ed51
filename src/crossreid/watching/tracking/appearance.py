"""What appearance adds to box tracking: a lost track continues under its number, and one that switched identity is cut.

Three things go wrong when people cross or hide each other, and each shows in the images that represent a track:

* two tracks swap: images before and after the meeting match better the other way round, and the parts after the meeting
  are exchanged;
* one track continues as another person: its images fall into two groups in time, and it is cut between them;
* a track is lost and reappears as a new one: if the new one starts nearby, soon after, and looks similar, it continues
  the lost one.

Cosines are between mean features of a track's images, the embedding of a set. If the model is calibrated, they are
converted to probabilities; otherwise they are compared directly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.watching.tracking.camera_tracker import MET, CameraTracker, Meeting, overlap
from crossreid.watching.tracking.key_frames import Candidate, embedding_of
from crossreid.watching.tracking.track import Track, middle
from crossreid.watching.tracking.tracking_options import TrackingOptions

_IMAGES = 3  # from each side of a meeting: the best ones without the other person in view
_GIVEN_UP = 5.0  # seconds after a meeting by which it is judged, or never
_SIZES = 1.6  # the largest factor between the heights of a person before and after being lost


@dataclass(frozen=True, slots=True)
class Likeness:
    """Whether two sets of images show the same identity: by probability if there is a calibration, else by cosine."""

    options: TrackingOptions
    calibration: Calibration | None = None

    def joins(self, cosine: float, one: Modality, other: Modality) -> bool:
        """Whether a lost track and a new one are the same."""
        probability = self._probability(cosine, one, other)
        return cosine >= self.options.rejoin_cosine if probability is None else probability >= self.options.rejoin_at

    def breaks(self, cosine: float, one: Modality, other: Modality) -> bool:
        """Whether the two parts of a track are not the same. Without calibration never across modalities."""
        probability = self._probability(cosine, one, other)
        if probability is None:
            return one == other and cosine < self.options.cut_cosine
        return probability < self.options.cut_at

    def _probability(self, cosine: float, one: Modality, other: Modality) -> float | None:
        if self.calibration is None or pair_name(one, other) not in self.calibration.curves:
            return None
        return float(self.calibration.probability(np.array([cosine]), one, other)[0])


def revise(tracker: CameraTracker, likeness: Likeness, *, now: bool = False) -> None:
    """Correct a camera's tracks, whose images must be embedded; `now` means there are no more frames."""
    _judge_meetings(tracker, likeness, now)
    _cut_breaks(tracker, likeness)
    _rejoin(tracker, likeness, now)


def ready(track: Track, tracker: CameraTracker, *, now: bool = False) -> bool:
    """Whether a track has lasted long enough to be examined, or has ended and was more than a flicker."""
    lasted = track.end - track.start
    over = now or not tracker.seen(track)
    return lasted >= (
        min(tracker.options.shortest, tracker.options.first_after) if over else tracker.options.first_after
    )


def _cosine(one: Sequence[Candidate], other: Sequence[Candidate]) -> float:
    return float(embedding_of(one) @ embedding_of(other))


def _embedded(track: Track) -> list[Candidate]:
    return [candidate for candidate in track.key_frames.all if candidate.feature is not None]


def _judge_meetings(tracker: CameraTracker, likeness: Likeness, now: bool) -> None:
    """Exchange the parts of two tracks after their meeting if that fits better by more than the margin."""
    for meeting in list(tracker.meetings):
        gone = now or not (tracker.seen(meeting.one) and tracker.seen(meeting.other))
        late = tracker.time - meeting.time > _GIVEN_UP
        if meeting.over is None and not (gone or late):
            continue
        sides = [_sides(track, meeting) for track in (meeting.one, meeting.other)]
        enough = all(len(side) >= (1 if gone or late else 2) for pair in sides for side in pair)
        if not (enough or gone or late):
            continue
        tracker.meetings.remove(meeting)
        if enough and _swapped(sides, likeness.options.swap_margin):
            moment = _moment_of_swap(meeting)
            tails = [track.take_tail(moment) for track in (meeting.one, meeting.other)]
            meeting.one.append(tails[1])
            meeting.other.append(tails[0])
            _exchange(tracker.meetings, meeting, moment)
        for track in (meeting.one, meeting.other):
            if not any(other.of(track) for other in tracker.meetings):
                track.key_frames.join()


def _moment_of_swap(meeting: Meeting) -> int:
    """The first frame in which one of them reappears after being hidden; the closest one if none was hidden."""
    again = []
    for track in (meeting.one, meeting.other):
        usual = 2 * np.median(np.diff(track.indexes))
        for before, index in pairwise(track.indexes):
            if index - before > usual and index > meeting.began and (meeting.over is None or index <= meeting.over):
                again.append(index)
    moment = min(again, default=meeting.index)
    return moment if moment <= min(meeting.one.indexes[-1], meeting.other.indexes[-1]) else meeting.index


def _exchange(meetings: Sequence[Meeting], swapped: Meeting, moment: int) -> None:
    """Reassign later meetings of two swapped tracks to the other track."""
    others = {id(swapped.one): swapped.other, id(swapped.other): swapped.one}
    for meeting in meetings:
        if meeting.index >= moment:
            meeting.one = others.get(id(meeting.one), meeting.one)
            meeting.other = others.get(id(meeting.other), meeting.other)


def _sides(track: Track, meeting: Meeting) -> tuple[list[Candidate], list[Candidate]]:
    """The best images before and after a meeting."""
    every = sorted(_embedded(track), key=lambda candidate: -candidate.quality)
    before = [candidate for candidate in every if candidate.index < meeting.index]
    after = [candidate for candidate in every if candidate.index >= meeting.index]
    if track.indexes[0] >= meeting.index:
        return [], after
    return before[:_IMAGES], after[:_IMAGES]


def _swapped(sides: list[tuple[list[Candidate], list[Candidate]]], margin: float) -> bool:
    (one_before, one_after), (other_before, other_after) = sides
    straight = _cosine(one_before, one_after) + _cosine(other_before, other_after)
    crossed = _cosine(one_before, other_after) + _cosine(other_before, one_after)
    return crossed > straight + margin


def _cut_breaks(tracker: CameraTracker, likeness: Likeness) -> None:
    """Cut tracks whose images fall into two groups in time if the groups show two identities."""
    for track in list(tracker.tracks):
        images = _embedded(track)
        if len(images) < 4 or any(meeting.of(track) for meeting in tracker.meetings):
            continue
        at = min(range(1, len(images)), key=lambda at: _cosine(images[:at], images[at:]))
        left, right = images[:at], images[at:]
        if min(len(left), len(right)) < 2:  # one image is not enough evidence, and more may follow
            continue
        between = _cosine(left, right)
        whole = min(_coherence(left), _coherence(right))
        if whole > between + likeness.options.swap_margin and likeness.breaks(
            between, left[-1].modality, right[0].modality
        ):
            tracker.cut(track, _moment(tracker, track, left[-1].index, right[0].index))


def _coherence(images: Sequence[Candidate]) -> float:
    """The mean cosine of a group's images with its embedding."""
    centre = embedding_of(images)
    return float(np.mean([embedding_of([image]) @ centre for image in images]))


def _moment(tracker: CameraTracker, track: Track, after: int, until: int) -> int:
    """The frame, after `after` and at most `until`, from which a track shows another person.

    It is the first after the longest gap in which the track was not seen; if it was always seen, the one in which it
    was closest to another track; if it was never close to one, the one at which its path bends most.
    """
    at = range(bisect_right(track.indexes, after), bisect_right(track.indexes, until))
    gaps = [track.indexes[position] - track.indexes[position - 1] for position in at]
    if max(gaps) > 2 * np.median(np.diff(track.indexes)):
        return track.indexes[at[int(np.argmax(gaps))]]
    own = {track.indexes[position]: track.boxes[position] for position in at}
    shared = [
        (overlap(own[index], box), -index)
        for other in tracker.tracks
        if other is not track
        for index, box in zip(other.indexes, other.boxes, strict=True)
        if index in own
    ]
    if shared and max(shared)[0] >= MET:
        return -max(shared)[1]
    ways = [middle(box) for box in track.boxes[max(0, at[0] - 2) : at[-1] + 1]]
    bends = [float(np.linalg.norm(c - 2 * b + a)) for a, b, c in zip(ways, ways[1:], ways[2:], strict=False)]
    return track.indexes[at[-1] - (len(bends) - 1 - int(np.argmax(bends)))] if bends else track.indexes[at[0]]


def _rejoin(tracker: CameraTracker, likeness: Likeness, now: bool) -> None:
    """Let new tracks continue lost ones, best pairs first, and number the others."""
    new = [
        track
        for track in tracker.tracks
        if track.number is None and ready(track, tracker, now=now) and _embedded(track)
    ]
    new.sort(key=lambda track: (track.start, track.boxes[0].tolist()))
    while new:
        first = new[0]
        # A track that starts while the first one lasts can't continue it, but a later one can; numbers stay in order.
        group = [track for track in new if track.start <= first.end]
        new = [track for track in new if track not in group]
        _continue_or_number(tracker, group, likeness)


def _continue_or_number(tracker: CameraTracker, group: list[Track], likeness: Likeness) -> None:
    lost = [track for track in tracker.tracks if track.number is not None and _embedded(track)]
    likes = np.array([[_continues(old, later, likeness) for later in group] for old in lost]).reshape(
        len(lost), len(group)
    )
    found = dict(zip(*(axis.tolist() for axis in linear_sum_assignment(likes, maximize=True)[::-1]), strict=True))
    for position, track in enumerate(group):
        old = found.get(position)
        if old is not None and likes[old, position] > 0:
            tracker.join(lost[old], track)
        else:
            tracker.number(track)


def _continues(lost: Track, later: Track, likeness: Likeness) -> float:
    """How much `later` looks like a continuation of `lost`, 0 if it can't be: the cosine, shifted to be above 0."""
    gap = later.start - lost.end
    if not 0 < gap <= likeness.options.rejoin_within or later.cut_from is lost:
        return 0.0
    last, first = lost.boxes[-1], later.boxes[0]
    heights = sorted((float(last[3] - last[1]), float(first[3] - first[1])))
    if heights[1] > _SIZES * max(heights[0], 1e-6):
        return 0.0
    # A lost person walks on, stands still or turns, so near means near where they were or would be by now.
    there = middle(first)
    ways = [middle(last), middle(last) + lost.velocity() * gap]
    away = min(float(np.linalg.norm(there - way)) for way in ways)
    if away > heights[1] * (0.5 + gap):
        return 0.0
    before, after = _embedded(lost), _embedded(later)
    cosine = _cosine(before, after)
    return 1 + cosine if likeness.joins(cosine, before[-1].modality, after[0].modality) else 0.0
