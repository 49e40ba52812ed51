"""From tracklets to identities across cameras: who was seen where, revised as more is seen.

A tracklet is matched against the identities seen so far and against a gallery, within the limits of topology and time.
It gets the most likely identity if that is likely enough (`match_at`), else a new one. Competing tracklets are decided
together. While a track lasts, each later version of it may change the identity; identities that a tracklet shows to be
the same are merged (`merge_at`). People's decisions are kept. The formula is in `posterior`; docs/identities.md shows
the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from crossreid.evaluation.calibration import Calibration
from crossreid.galleries.gallery import Gallery
from crossreid.watching.events import Event
from crossreid.watching.identities import decisions, posterior, track_rows
from crossreid.watching.identities.candidates import Candidates
from crossreid.watching.identities.changes import Changes
from crossreid.watching.identities.forgetting import forget
from crossreid.watching.identities.known_people import KnownPeople
from crossreid.watching.identities.matching import (
    Matching,
    Sighting,
    Who,
    conflict,
    sighting_of_track,
    sighting_of_tracklet,
)
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import State
from crossreid.watching.identities.topology import Topology
from crossreid.watching.identities.track_rows import TrackRow, checked
from crossreid.watching.tracklets import Tracklet


class Identities:
    """Decides who is seen and stores it in a state open for writing. For use by one thread.

    gallery: an open gallery of the model that embeds the tracklets; without one, all identities are new. calibration:
    that of the model, for tracklets if available; by default `posterior.by_threshold`.
    """

    def __init__(
        self,
        state: State,
        calibration: Calibration,
        options: MatchingOptions | None = None,
        topology: Topology | None = None,
        gallery: Gallery | None = None,
    ) -> None:
        self._state, self._database = state, state.database
        self._options, self._topology = options or MatchingOptions(), topology or Topology()
        self._known = None if gallery is None else KnownPeople(gallery, self._options)
        decisions.note_rules(state, self._topology, self._options.absent_after)
        self._candidates = Candidates(self._database, self._options, self._topology)
        self._changes = Changes(state, self._topology, self._options.absent_after)
        self._matching = Matching(state, self._candidates, calibration, self._options, self._known)
        self._failed = state.failed_steps
        self._forgotten: float | None = None

    @property
    def uncompared(self) -> set[str]:
        """Pairs of modalities that could not be compared because the calibration has no curve for them."""
        return self._candidates.uncompared | (self._known.uncompared if self._known else set())

    def observe(self, tracklet: Tracklet) -> list[Event]:
        """Observe a new tracklet or a later version of one; returns the resulting events. As `observe_all`."""
        return self.observe_all([tracklet])

    def observe_all(self, tracklets: Sequence[Tracklet]) -> list[Event]:
        """Observe tracklets of one moment, from any cameras, each once: competing ones are decided together.

        Within a step of the state this is part of it; otherwise it is its own step.
        Raises `DataError` for an invalid tracklet, `StateError` if it could not be stored.
        """
        tracklets = sorted(map(checked, tracklets), key=lambda one: (one.start, one.camera, one.track))
        with self._step():
            self._tick(max((one.end for one in tracklets), default=-math.inf))
            waiting: list[Sighting] = []
            for tracklet in tracklets:
                known = track_rows.find(self._database, tracklet.camera, tracklet.track)
                if known is None:
                    waiting.append(sighting_of_tracklet(tracklet, None))
                    continue
                track = self._changes.extend(known, tracklet)
                self._refresh()
                if track.pinned:
                    self._changes.confirm(track)
                else:
                    waiting.append(sighting_of_tracklet(tracklet, track))
                waiting.extend(sighting_of_track(self._state, other) for other in self._evicted(track))
            once = {one.row or -number: one for number, one in enumerate(waiting, 1)}
            for group in self._groups(list(once.values())):
                self._decide(group)
        return self._changes.take()

    def advance(self, camera: str, time: float) -> list[Event]:
        """Advance a camera to this time: whoever was last seen `absent_after` seconds earlier has left.

        An identity in view must be observed more often than that. Infinity: the camera has ended and all have left.
        """
        with self._step():
            if math.isfinite(time):
                self._tick(time)
            else:
                self._database.write("UPDATE tracks SET finished = 1 WHERE camera = ? AND NOT finished", (camera,))
            self._changes.leave(camera, time - self._options.absent_after)
            self._refresh()
        return self._changes.take()

    def ended(self, camera: str) -> list[Event]:
        """Record that a camera has no more frames: all identities have left it."""
        return self.advance(camera, math.inf)

    def merge(self, into: str, other: str, by: str) -> Event:
        """Merge two identities because a person says they are the same; never undone here. Raises `IdentityConflict` if
        they were seen in two tracks of one camera at once, `CrossreidError` for an unknown identity."""
        with self._step():
            event = decisions.merge(self._state, into, other, by)
            self._candidates.reload()
        return event

    def split(self, identity: str, tracks: Sequence[int], by: str) -> Event:
        """Split tracks, by their numbers in the state, off an identity because a person says they show someone else;
        they are never merged here again. Raises `IdentityConflict` if they are not its tracks, or all of them."""
        with self._step():
            event = decisions.split(self._state, identity, tracks, by)
            self._candidates.reload()
        return event

    def answer_requests(self) -> list[Event]:
        """Carry out requests made through the service while this process watches; impossible ones are refused there."""
        if not decisions.waiting(self._state):
            return []
        before = self._state.last_event()
        with self._step():
            self._note_forgotten(decisions.answer(self._state))
            self._candidates.reload()
        return self._state.events(before)

    def forget(self, before: float) -> int:
        """Delete tracks, embeddings, crops and delivered events from before this time; returns the number of tracks."""
        with self._step():
            count = forget(self._state, before)
            self._note_forgotten(before)
            self._candidates.reload()
        return count

    def take_forgotten(self) -> float | None:
        """The time up to which data were deleted since the last call, or None; trackers must drop the same data."""
        before, self._forgotten = self._forgotten, None
        return before

    def _note_forgotten(self, before: float | None) -> None:
        if before is not None:
            self._forgotten = max(before, -math.inf if self._forgotten is None else self._forgotten)

    @contextmanager
    def _step(self) -> Iterator[None]:
        if self._failed != self._state.failed_steps:  # what that step wrote is in memory but not in the state
            self._failed = self._state.failed_steps
            self._candidates.reload()
        try:
            with self._state.step():
                yield
        except BaseException:
            self._failed = -1
            self._changes.take()
            raise

    def _tick(self, time: float) -> None:
        if self._candidates.tick(time):
            self._state.note("clock", repr(float(time)))

    def _refresh(self) -> None:
        for identity in self._changes.touched:
            self._candidates.refresh(identity)
        self._changes.touched.clear()

    def _evicted(self, track: TrackRow) -> list[TrackRow]:
        """Tracks that its identity loses because the track has grown into their time; none if the track itself goes.

        The earlier track stays, and so does one placed by a person.
        """
        rivals = [other for other in self._overlapping(track) if other.identity == track.identity]
        if any(other.pinned or other.row < track.row for other in rivals) and not track.pinned:
            return []  # the track is weighed again, without its identity as a candidate
        return [other for other in rivals if not other.pinned]

    def _overlapping(self, of: TrackRow | Sighting) -> list[TrackRow]:
        """Stored tracks that cannot have the same identity as a track because of their times."""
        start, end = (of.start, of.end) if isinstance(of, Sighting) else (of.first, of.last)
        rows = track_rows.select(self._database, "last >= ? AND first <= ? AND row != ?", start, end, of.row)
        return [other for other in rows if conflict(self._topology, of, other)]

    def _groups(self, waiting: Sequence[Sighting]) -> list[list[Sighting]]:
        """Groups of sightings that exclude each other."""
        groups: list[list[Sighting]] = []
        for one in waiting:
            for group in groups:
                if all(conflict(self._topology, one, other) for other in group):
                    group.append(one)
                    break
            else:
                groups.append([one])
        return groups

    def _decide(self, group: list[Sighting]) -> None:
        """Give each sighting of a group its identity, displacing the current holders if that is more likely."""
        for one in group:
            self._as_it_is(one)
        group = group + self._contenders(group)
        ignored = [one.track for one in group if one.track]
        weighed = [self._matching.weights(one, ignored) for one in group]
        everybody = sorted({who for weights in weighed for who in weights}, key=lambda who: (isinstance(who, str), who))
        table = np.array([[weights.get(who, -np.inf) for who in everybody] for weights in weighed]).reshape(
            len(group), -1
        )
        enough = self._options.match_at / (1 - self._options.match_at)
        chosen = posterior.assigned(table, enough * self._options.new_identity)
        decided: list[tuple[Sighting, Who | None, dict[Who, float], dict[Who, float]]] = []
        claimed: set[Who] = set()
        for row in sorted(range(len(group)), key=lambda row: group[row].row or math.inf):  # first come, first served
            taken = {everybody[other] for other in np.delete(chosen, row) if other >= 0}
            left = {who: weight for who, weight in weighed[row].items() if who not in taken}
            odds = self._probabilities(left)
            who = everybody[chosen[row]] if chosen[row] >= 0 else None
            target = self._target(group[row], who, odds, taken | claimed, [one.row for one in group])
            if target is not None:
                claimed.add(target)
            decided.append((group[row], target, odds, left))
        decided.sort(key=lambda told: not self._goes(told[0], told[1]))  # leaving tracks make room for arriving ones
        for one, target, odds, left in decided:
            track = self._apply(one, target, odds)
            self._refresh()
            self._join_others(track, left)

    def _probabilities(self, weights: dict[Who, float]) -> dict[Who, float]:
        """Probabilities of a sighting's candidates, from their log-weights; the remainder is that of none of them."""
        shares = posterior.posterior(np.array(list(weights.values())), self._options.new_identity)
        return dict(zip(weights, shares.tolist(), strict=False))

    def _contenders(self, group: Sequence[Sighting]) -> list[Sighting]:
        """Ongoing tracks that hold an identity which a new sighting would otherwise get."""
        members = {one.row for one in group}
        rivals: dict[int, TrackRow] = {}
        for one in group:
            for other in self._overlapping(one):
                if not (other.finished or other.pinned or other.row in members):
                    rivals[other.row] = other
        if not rivals:
            return []
        ignored = [*rivals.values(), *(one.track for one in group if one.track)]
        wanted: set[Who] = set()
        for one in group:
            weights = self._matching.weights(one, ignored)
            odds = self._probabilities(weights)
            wanted |= {who for who, share in odds.items() if share >= self._options.match_at}
        return [sighting_of_track(self._state, other) for other in rivals.values() if other.identity in wanted]

    def _target(
        self, one: Sighting, who: Who | None, odds: dict[Who, float], taken: set[Who], group: Sequence[int]
    ) -> Who | None:
        """The identity that a sighting gets; None for a new one. `taken`: those of the others in `group`, by row."""
        if who is not None and odds[who] >= self._options.match_at and who not in taken:
            return who
        if one.track is None:
            return None
        current = one.track.identity
        others = [other for other in self._overlapping(one) if other.row not in group]
        if current in taken or any(other.identity == current for other in others):
            return None
        if self._is_alone(one.track, group) or odds.get(current, 0.0) >= self._options.leave_at:
            return current
        return None

    def _is_alone(self, track: TrackRow, without: Sequence[int] = ()) -> bool:
        """Whether its identity has no name and no tracks other than those in `without`."""
        if self._state.name_of(track.identity) is not None:
            return False
        rows = self._database.read(
            "SELECT row FROM tracks WHERE identity = ? LIMIT ?", (track.identity, len(without) + 2)
        )
        return {row for (row,) in rows} <= {track.row, *without}

    def _as_it_is(self, one: Sighting) -> TrackRow | None:
        """The track of a sighting, reread."""
        if one.track is not None:
            one.track = track_rows.by_row(self._database, one.track.row)
        return one.track

    def _goes(self, one: Sighting, target: Who | None) -> bool:
        return one.track is not None and one.track.identity != target

    def _apply(self, one: Sighting, target: Who | None, odds: dict[Who, float]) -> TrackRow:
        probability = None if target is None else odds.get(target)
        track = self._as_it_is(one)
        if isinstance(target, int):
            target = self._state.resolved(target)
            # If it has just been merged with a rival's:
            if any(other.identity == target for other in self._overlapping(one)):
                target = track.identity if track is not None and self._is_alone(track) else None
        if track is not None and track.identity == target:
            if probability is not None:
                self._database.write("UPDATE tracks SET probability = ? WHERE row = ?", (probability, track.row))
            self._changes.confirm(track)
            return track
        number = target if isinstance(target, int) else self._changes.new_identity(target, one.start)
        if track is None:
            assert one.tracklet is not None
            return self._changes.add(one.tracklet, number, probability)
        current = track.identity
        if target is not None and self._is_alone(track) and not decisions.kept_apart(self._state, current, number):
            self._changes.merge(*self._in_order(number, current), probability, one.end)
            self._database.write("UPDATE tracks SET probability = ? WHERE row = ?", (probability, track.row))
            track = track_rows.by_row(self._database, track.row)
            self._changes.confirm(track)
            return track
        return self._changes.move(track, number, probability)

    def _join_others(self, track: TrackRow, weights: dict[Who, float]) -> None:
        """Merge identities with a track's identity if the track shows them to be the same."""
        for who in sorted(weights, key=lambda who: (-weights[who], str(who))):
            if not isinstance(who, int) or who == track.identity or track.pinned:
                continue
            rivals = np.array([weight for other, weight in weights.items() if other not in (who, track.identity)])
            shares = posterior.posterior(np.append(rivals, weights[who]), self._options.new_identity)
            probability = float(shares[-2])
            if probability < self._options.merge_at:
                return
            if self._may_be_one(track.identity, who):
                self._changes.merge(*self._in_order(track.identity, who), probability, track.last)
                self._refresh()
                return

    def _in_order(self, one: int, other: int) -> tuple[int, int]:
        """Two identities, the one that stays first: the one with a name, else the older one."""
        first, second = sorted((one, other))
        if self._state.name_of(first) is None and self._state.name_of(second) is not None:
            return second, first
        return first, second

    def _may_be_one(self, one: int, other: int) -> bool:
        names = {self._state.name_of(one), self._state.name_of(other)} - {None}
        return (
            len(names) < 2
            and not decisions.kept_apart(self._state, one, other)
            and not decisions.seen_at_once(self._state, one, other)
            and self._candidates.could_be_one(one, other)
        )
