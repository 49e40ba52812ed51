"""Changes of identities and presences, with their events: a track's identity is set or changed; identities merge or
split.

A presence is an identity in a camera's view: tracks with at most `absent_after` seconds between them. `seen` is emitted
when it begins, and `left` when it ends, or at once if the identity is seen in a view that does not overlap. All changes
happen within a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from crossreid.watching.events import Event, EventKind
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.state import State
from crossreid.watching.identities.topology import Topology
from crossreid.watching.identities.track_rows import TrackRow
from crossreid.watching.tracklets import Tracklet


class _Presence(NamedTuple):
    """A row of the presences; `open` is 1 until the identity has left."""

    row: int
    identity: int
    camera: str
    first: float
    last: float
    open: int


class Changes:
    """Writes changes into a state and collects their `events`; `touched` are the changed identities."""

    def __init__(self, state: State, topology: Topology, absent_after: float) -> None:
        self._state, self._database = state, state.database
        self._topology, self._absent_after = topology, absent_after
        self.events: list[Event] = []
        self.touched: set[int] = set()

    def take(self) -> list[Event]:
        """Return the events so far, and start collecting anew."""
        taken, self.events = self.events, []
        return taken

    def new_identity(self, name: str | None, time: float) -> int:
        """Add an identity without tracks."""
        return self._database.write("INSERT INTO identities (name, created) VALUES (?, ?)", (name, time))

    def add(self, tracklet: Tracklet, identity: int, probability: float | None) -> TrackRow:
        """Store a new track of an identity."""
        presence, opened = self._presence_for(identity, tracklet.camera, tracklet.start, tracklet.end)
        row = track_rows.insert(self._state, tracklet, identity, presence, probability)
        self._measure(presence)
        self.touched.add(identity)
        track = track_rows.by_row(self._database, row)
        if opened:
            self._seen(track)
        return track

    def extend(self, known: TrackRow, tracklet: Tracklet) -> TrackRow:
        """Store a later version of a track; its identity stays. Call `confirm` or `move` next."""
        track_rows.update(self._state, known, tracklet)
        self._measure(known.presence)
        self.touched.add(known.identity)
        return track_rows.by_row(self._database, known.row)

    def confirm(self, track: TrackRow) -> None:
        """Emit `seen` again for a track whose identity was thought to have left but has not."""
        [(is_open,)] = self._database.read("SELECT open FROM presences WHERE row = ?", (track.presence,))
        if not is_open:
            self._leave_elsewhere(track.identity, track.camera, track.first)
            self._database.write("UPDATE presences SET open = 1 WHERE row = ?", (track.presence,))
            self._close_others(track.identity, track.camera, track.presence)
            self._seen(track)
            self.touched.add(track.identity)

    def move(self, track: TrackRow, identity: int, probability: float | None) -> TrackRow:
        """Move a track to another identity: `split`, and the consequences for presences."""
        self._event("split", track.last, identity, other=track.identity, probability=probability, of=track)
        return self._reassign(track, identity, probability)

    def _reassign(self, track: TrackRow, identity: int, probability: float | None) -> TrackRow:
        self.touched |= {track.identity, identity}
        self._database.write("UPDATE tracks SET presence = 0 WHERE row = ?", (track.row,))
        self._vacated(track.presence)
        presence, opened = self._presence_for(identity, track.camera, track.first, track.last)
        self._database.write(
            "UPDATE tracks SET identity = ?, presence = ?, probability = ? WHERE row = ?",
            (identity, presence, probability, track.row),
        )
        self._measure(presence)
        track = track_rows.by_row(self._database, track.row)
        if opened:
            self._seen(track)
        return track

    def merge(self, into: int, other: int, probability: float | None, time: float, by: str | None = None) -> Event:
        """Merge two identities: `into` takes over the tracks and presences of `other`, and its name if it has none."""
        name = self._state.name_of(other)
        if name is not None and self._state.name_of(into) is None:
            self._database.write("UPDATE identities SET name = ? WHERE number = ?", (name, into))
        self._database.write("UPDATE identities SET merged_into = ? WHERE number = ?", (into, other))
        for table in ("tracks", "presences"):
            self._database.write(f"UPDATE {table} SET identity = ? WHERE identity = ?", (into, other))
        for end in ("one", "other"):
            self._database.write(f"UPDATE links SET {end} = ? WHERE {end} = ?", (into, other))
        self.touched |= {into, other}
        self._event("merged", time, into, other=other, probability=probability, by=by)
        merged = self.events[-1]
        self._join_presences(into)
        return merged

    def split(self, tracks: Sequence[TrackRow], time: float, by: str) -> tuple[int, Event]:
        """Split tracks of one identity off as a new identity; returns its number and the event."""
        identity = self.new_identity(None, time)
        self._event("split", time, identity, other=tracks[0].identity, by=by)
        split = self.events[-1]
        for track in tracks:
            [(is_open,)] = self._database.read("SELECT open FROM presences WHERE row = ?", (track.presence,))
            self._reassign_as_it_was(track, identity, bool(is_open))
        return identity, split

    def _reassign_as_it_was(self, track: TrackRow, identity: int, is_open: bool) -> None:
        """Reassign a track; no `seen` is emitted for an identity that has left."""
        if is_open:
            self._reassign(track, identity, None)
            return
        presence = self._database.write(
            "INSERT INTO presences (identity, camera, first, last, open) VALUES (?, ?, ?, ?, 0)",
            (identity, track.camera, track.first, track.last),
        )
        self._database.write(
            "UPDATE tracks SET identity = ?, presence = ?, probability = NULL WHERE row = ?",
            (identity, presence, track.row),
        )
        self._vacated(track.presence)
        self._join_presences(identity)
        self.touched |= {track.identity, identity}

    def leave(self, camera: str, before: float) -> None:
        """Emit `left` for all identities that a camera last saw before this time."""
        for presence in self._presences("camera = ? AND open AND last < ? ORDER BY last, row", camera, before):
            self._close(presence)

    def _presences(self, where: str, *values: object) -> list[_Presence]:
        """The presences that meet an SQL condition."""
        rows = self._database.read(f"SELECT {', '.join(_Presence._fields)} FROM presences WHERE {where}", values)
        return [_Presence(*row) for row in rows]

    def _presence_for(self, identity: int, camera: str, first: float, last: float) -> tuple[int, bool]:
        """The presence that a track becomes part of, and whether it starts now."""
        self._leave_elsewhere(identity, camera, first)
        slack = self._absent_after
        for one in self._presences(
            "identity = ? AND camera = ? AND last >= ? ORDER BY +row DESC", identity, camera, first - slack
        ):
            if one.open and one.first - slack <= last and first <= one.last + slack:
                return one.row, False
            if one.first <= first and last <= one.last:
                return one.row, False
        row = self._database.write(
            "INSERT INTO presences (identity, camera, first, last, open) VALUES (?, ?, ?, ?, 1)",
            (identity, camera, first, last),
        )
        self._close_others(identity, camera, row)
        return row, True

    def _leave_elsewhere(self, identity: int, camera: str, time: float) -> None:
        for one in self._open(identity):
            if one.last < time and not self._topology.may_overlap(one.camera, camera):
                self._close(one)

    def _close_others(self, identity: int, camera: str, row: int) -> None:
        """Keep one presence per camera open, that of the last `seen`; close earlier ones without an event."""
        self._database.write(
            "UPDATE presences SET open = 0 WHERE identity = ? AND camera = ? AND row != ?", (identity, camera, row)
        )

    def _open(self, identity: int) -> list[_Presence]:
        return self._presences("identity = ? AND open ORDER BY last, row", identity)

    def _close(self, presence: _Presence, *, gone: bool = False) -> None:
        """Emit `left` with the last track of the presence; without a track if it is `gone`."""
        self._database.write("UPDATE presences SET open = 0 WHERE row = ?", (presence.row,))
        tracks = track_rows.select(self._database, "presence = ?", presence.row)
        if gone or not tracks:
            self._event("left", presence.last, presence.identity, camera=presence.camera)
        else:
            latest = max(tracks, key=lambda track: (track.last, track.row))
            self._event("left", presence.last, presence.identity, of=latest)
        self.touched.add(presence.identity)

    def _vacated(self, row: int) -> None:
        """Update a presence that a track was taken from; without tracks it is removed."""
        if self._measure(row):
            return
        [presence] = self._presences("row = ?", row)
        if presence.open:
            self._close(presence, gone=True)
        self._database.write("DELETE FROM presences WHERE row = ?", (row,))

    def _measure(self, row: int) -> bool:
        """Set a presence's times from its tracks; returns whether it has any."""
        [(first, last)] = self._database.read("SELECT min(first), max(last) FROM tracks WHERE presence = ?", (row,))
        if first is not None:
            self._database.write("UPDATE presences SET first = ?, last = ? WHERE row = ?", (first, last, row))
        return first is not None

    def _join_presences(self, identity: int) -> None:
        """Merge consecutive presences in one view; an open presence of someone seen elsewhere later is closed."""
        cameras: dict[str, list[_Presence]] = defaultdict(list)
        every = self._presences("identity = ? ORDER BY first, row", identity)
        for presence in every:
            cameras[presence.camera].append(presence)
        for camera, rows in cameras.items():
            elsewhere = [one for one in every if not self._topology.may_overlap(one.camera, camera)]
            current = rows[0]
            for following in rows[1:]:
                start, end = current.last, following.first
                between = any(one.first < end and start < one.last for one in elsewhere)
                if end <= start or (end <= start + self._absent_after and not between):
                    current = self._joined(current, following)
                else:
                    if current.open and following.open:
                        self._database.write("UPDATE presences SET open = 0 WHERE row = ?", (current.row,))
                    current = following
        still = self._open(identity)
        for one in still:
            if any(
                other.first > one.last and not self._topology.may_overlap(one.camera, other.camera) for other in still
            ):
                self._close(one)

    def _joined(self, one: _Presence, other: _Presence) -> _Presence:
        self._database.write("UPDATE tracks SET presence = ? WHERE presence = ?", (one.row, other.row))
        self._database.write("DELETE FROM presences WHERE row = ?", (other.row,))
        first, last, is_open = min(one.first, other.first), max(one.last, other.last), max(one.open, other.open)
        self._database.write(
            "UPDATE presences SET first = ?, last = ?, open = ? WHERE row = ?", (first, last, is_open, one.row)
        )
        return one._replace(first=first, last=last, open=is_open)

    def _seen(self, track: TrackRow) -> None:
        self._event("seen", track.first, track.identity, probability=track.probability, of=track)

    def _event(self, kind: EventKind, time: float, identity: int, *, of: TrackRow | None = None, **told: Any) -> None:
        if of is not None:
            told |= {"camera": of.camera, "track": of.track, "modality": of.modality.name.lower()}
        self.events.append(self._state.add_event(kind, time, identity, **told))
