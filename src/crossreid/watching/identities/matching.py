"""The evidence for each possible identity of a tracklet: log-weights by the formula in `posterior`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration
from crossreid.watching.identities import posterior, track_rows
from crossreid.watching.identities.candidates import Candidates
from crossreid.watching.identities.known_people import KnownPeople, Named
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import State
from crossreid.watching.identities.topology import Topology
from crossreid.watching.identities.track_rows import TrackRow
from crossreid.watching.tracklets import Tracklet

Who = int | str  # an identity seen before, by number, or one known only to the gallery, by name


@dataclass(eq=False, slots=True)
class Sighting:
    """A track to be identified: a new one (`track` is None, `tracklet` is what is known about it), or a stored one."""

    camera: str
    start: float
    end: float
    modality: Modality
    embedding: np.ndarray
    track: TrackRow | None = None
    tracklet: Tracklet | None = None
    named: Mapping[str, Named] | None = field(default=None)  # the gallery's candidates, once looked up

    @property
    def row(self) -> int:
        """The number of its row; 0 for a new one."""
        return self.track.row if self.track else 0


def sighting_of_tracklet(tracklet: Tracklet, track: TrackRow | None) -> Sighting:
    """A tracklet as it was observed; `track` is its row if it is already stored."""
    start = tracklet.start if track is None else track.first
    return Sighting(
        tracklet.camera,
        start,
        tracklet.end,
        tracklet.modality,
        np.asarray(tracklet.embedding, np.float32),
        track,
        tracklet,
    )


def sighting_of_track(state: State, track: TrackRow) -> Sighting:
    """A stored track."""
    [(content,)] = state.database.read("SELECT embedding FROM tracks WHERE row = ?", (track.row,))
    return Sighting(track.camera, track.first, track.last, track.modality, track_rows.unpacked(content), track)


def conflict(topology: Topology, one: Sighting | TrackRow, other: Sighting | TrackRow) -> bool:
    """Whether two tracks cannot be one identity: at the same time in one view, or in two that do not overlap."""
    start, end = _times(one)
    first, last = _times(other)
    if one.camera != other.camera:
        if topology.may_overlap(one.camera, other.camera):
            return False
        return first <= end - topology.clock_error and last >= start + topology.clock_error
    return first <= end and start <= last


def _times(track: Sighting | TrackRow) -> tuple[float, float]:
    return (track.start, track.end) if isinstance(track, Sighting) else (track.first, track.last)


class Matching:
    """Weighs the candidates of a sighting, from everything seen and from a gallery."""

    def __init__(
        self,
        state: State,
        candidates: Candidates,
        calibration: Calibration,
        options: MatchingOptions,
        known: KnownPeople | None,
    ) -> None:
        self._state, self._candidates, self._known = state, candidates, known
        self._options = options
        # Tracklets are compared with each other as sets, and with single images of a gallery as sets.
        self._of_tracklets, self._of_entries = calibration.of_sets(), calibration.of_sets(gallery=False)

    def weights(self, sighting: Sighting, ignored: Collection[TrackRow]) -> dict[Who, float]:
        """Log-weights of the candidates, as if the `ignored` tracks did not exist; the sighting itself never counts."""
        without = {track.row for track in ignored} | {sighting.row}
        evidence = self._candidates.evidence(sighting.embedding, sighting.modality, self._of_tracklets, without)
        told: dict[Who, tuple[float, float]] = {
            number: (total, count)
            for number, total, count in zip(
                evidence.identities.tolist(), evidence.totals.tolist(), evidence.counts.tolist(), strict=True
            )
        }
        barred = self._barred(sighting, ignored, without)
        for name, named in self._named(sighting).items():
            who = self._who(name)
            if named.moments and not self._can_have_been(named, sighting):
                told.pop(who, None)
            else:
                total, compared = told.get(who, (0.0, 0.0))
                told[who] = total + named.total, compared + named.count
        chosen = [who for who in told if who not in barred]
        pairs = np.array([told[who] for who in chosen]).reshape(-1, 2)
        ratios = posterior.pooled(pairs[:, 0], pairs[:, 1])
        count = max(self._count(evidence.remembered, barred), len(chosen))
        weights = posterior.log_weights(ratios, count, self._options.new_identity)
        return dict(zip(chosen, weights.tolist(), strict=True))

    def _count(self, remembered: np.ndarray, barred: set[int]) -> int:
        """The number of candidates: seen identities that can be there, and the rest of the gallery."""
        count = int((~np.isin(remembered, list(barred))).sum())
        if self._known is None:
            return count
        named = self._state.database.read(
            "SELECT number FROM identities WHERE name IS NOT NULL AND merged_into IS NULL"
        )
        return count + self._known.count - int(np.isin(remembered, [number for (number,) in named]).sum())

    def _barred(self, sighting: Sighting, ignored: Collection[TrackRow], without: set[int]) -> set[int]:
        """Identities that cannot be there: in another track of this view at the time, or too far away."""
        rows = self._state.database.read(
            "SELECT row, identity FROM tracks WHERE camera = ? AND last >= ? AND first <= ?",
            (sighting.camera, sighting.start, sighting.end),
        )
        there = {identity for row, identity in rows if row not in without}
        presences = {track.presence for track in ignored}
        return there | self._candidates.impossible(sighting.camera, sighting.start, sighting.end, presences)

    def _named(self, sighting: Sighting) -> Mapping[str, Named]:
        if self._known is None:
            return {}
        if sighting.named is None:
            sighting.named = self._known.find(sighting.embedding, sighting.modality, self._of_entries)
        return sighting.named

    def _who(self, name: str) -> Who:
        """The seen identity with a gallery name; the name itself if there is none."""
        found = self._state.database.read("SELECT min(number) FROM identities WHERE name = ?", (name,))
        return name if found[0][0] is None else self._state.resolved(found[0][0])

    def _can_have_been(self, named: Named, sighting: Sighting) -> bool:
        by_number = {number: name for name, number in self._state.cameras().items() if number}
        moments = [(by_number[camera], time) for camera, time in named.moments if camera in by_number]
        return not moments or self._candidates.possible_after(moments, sighting.camera, sighting.start, sighting.end)
