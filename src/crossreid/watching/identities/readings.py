"""Reading a watch's state: for the service's pages and for sinks, in this process or another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossreid.data.records import Modality
from crossreid.watching.events import Event
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.database import Database, StateError
from crossreid.watching.identities.identity_ids import id_of, number_of

_OLDEST, _LATEST = -1e300, 1e300


@dataclass(frozen=True, slots=True)
class IdentitySeen:
    """An identity that was seen: `first` and `last` time, numbers of tracks and stored images, and camera names."""

    identity: str
    name: str | None
    first: float
    last: float
    tracks: int
    images: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """An identity in a camera's view from `first` to `last`; `open` while it has not left.

    tracks: how many; modality: of its latest track; probability: the lowest of its matched tracks, None if none was
    matched.
    """

    number: int
    identity: str
    name: str | None
    camera: str
    first: float
    last: float
    open: bool
    modality: Modality
    tracks: int
    probability: float | None


@dataclass(frozen=True, slots=True)
class KeptImage:
    """A key frame of a track: the `path` of its crop relative to the watch's folder, empty if no images are kept; the
    box in pixels of frame `index`: left, top, right, bottom."""

    index: int
    time: float
    quality: float
    box: tuple[float, float, float, float]
    path: str


@dataclass(frozen=True, slots=True)
class TrackSeen:
    """A track of an identity. number: the track's number in this state, for `track_by_number`; track: that within its
    camera; probability: that it shows its identity, None for an identity's first track and for a person's decision;
    pinned: whether a person decided."""

    number: int
    camera: str
    track: int
    identity: str
    name: str | None
    first: float
    last: float
    modality: Modality
    finished: bool
    probability: float | None
    pinned: bool
    images: tuple[KeptImage, ...]


class Readings:
    """The reading half of `State`. Within a step it reads the step's changes too, otherwise what was committed."""

    folder: Path
    database: Database

    def identities(self) -> list[IdentitySeen]:
        """All identities with tracks, most recently seen first."""
        rows = self.database.read(
            "SELECT t.identity, i.name, min(t.first), max(t.last), count(*), group_concat(DISTINCT t.camera), "
            "(SELECT count(*) FROM key_frames k JOIN tracks u ON u.row = k.track WHERE u.identity = t.identity AND k.path != '') "
            "FROM tracks t JOIN identities i ON i.number = t.identity GROUP BY t.identity ORDER BY max(t.last) DESC, t.identity"
        )
        return [
            IdentitySeen(id_of(number), name, first, last, tracks, images, tuple(sorted(cameras.split(","))))
            for number, name, first, last, tracks, cameras, images in rows
        ]

    def timeline(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        cameras: Sequence[str] | None = None,
        identity: str | None = None,
        limit: int = 10_000,
    ) -> list[Presence]:
        """Presences that overlap the time from `since` to `until`, earliest first, filtered by cameras and identity if
        given. A merged identity stands for the one it was merged into."""
        where = ["p.last >= ?", "p.first <= ?"]
        values: list[float | str] = [since if since is not None else _OLDEST, until if until is not None else _LATEST]
        if cameras is not None:
            where.append(f"p.camera IN ({','.join('?' * len(cameras))})")
            values += cameras
        if identity is not None:
            where.append("p.identity = ?")
            values.append(self.resolved(number_of(identity)))
        rows = self.database.read(
            "SELECT p.row, p.identity, i.name, p.camera, p.first, p.last, p.open, count(t.row), min(t.probability), "
            "(SELECT modality FROM tracks u WHERE u.presence = p.row ORDER BY u.last DESC, u.row DESC LIMIT 1) "
            "FROM presences p JOIN identities i ON i.number = p.identity JOIN tracks t ON t.presence = p.row "
            f"WHERE {' AND '.join(where)} GROUP BY p.row ORDER BY p.first, p.row LIMIT ?",
            [*values, limit],
        )
        return [
            Presence(
                row, id_of(number), name, camera, first, last, bool(is_open), Modality(modality), count, probability
            )
            for row, number, name, camera, first, last, is_open, count, probability, modality in rows
        ]

    def tracks_of(self, identity: str) -> list[TrackSeen]:
        """The tracks of an identity, earliest first; for a merged one, those of the one it was merged into."""
        return self._tracks("t.identity = ?", self.resolved(number_of(identity)))

    def track(self, camera: str, track: int) -> TrackSeen | None:
        """A track by its camera and its number there."""
        return next(iter(self._tracks("t.camera = ? AND t.track = ?", camera, track)), None)

    def track_by_number(self, number: int) -> TrackSeen | None:
        """A track by its number in this state."""
        return next(iter(self._tracks("t.row = ?", number)), None)

    def _tracks(self, where: str, *values: object) -> list[TrackSeen]:
        rows = self.database.read(
            "SELECT t.row, t.camera, t.track, t.identity, i.name, t.first, t.last, t.modality, t.finished, t.probability, t.pinned "
            f"FROM tracks t JOIN identities i ON i.number = t.identity WHERE {where} ORDER BY t.first, t.row",
            values,
        )
        return [
            TrackSeen(
                row, camera, track, id_of(number), name, first, last, Modality(modality), bool(finished), probability,
                bool(pinned), self._images(row),
            )
            for row, camera, track, number, name, first, last, modality, finished, probability, pinned in rows
        ]  # fmt: skip

    def _images(self, row: int) -> tuple[KeptImage, ...]:
        found = self.database.read(
            "SELECT frame, time, quality, box, path FROM key_frames WHERE track = ? ORDER BY frame", (row,)
        )
        return tuple(
            KeptImage(frame, time, quality, tuple(np.frombuffer(box, np.float32).tolist()), path)
            for frame, time, quality, box, path in found
        )

    def next_track(self, camera: str) -> int:
        """The lowest track number of this camera that has never been used."""
        return 1 + int(
            self.database.read("SELECT coalesce(max(track), 0) FROM used_tracks WHERE camera = ?", (camera,))[0][0]
        )

    def mot_rows(self, camera: str) -> Iterator[tuple[int, int, np.ndarray]]:
        """Per box of a camera, in order of frames: frame from 0, number of the global identity, `(4,)` float32 box."""
        return track_rows.boxes_of_camera(self.database, camera)

    def resolved(self, number: int) -> int:
        """The identity that one was finally merged into; itself if it was not merged. Raises `StateError` for an
        identity that never existed or was deleted."""
        while True:
            found = self.database.read("SELECT merged_into FROM identities WHERE number = ?", (number,))
            if not found:
                raise StateError(f"{self.folder} has no identity {id_of(number)}.")
            if found[0][0] is None:
                return number
            number = found[0][0]

    def resolve(self, identity: str) -> str:
        """As `resolved`, by the ids used in events."""
        return id_of(self.resolved(number_of(identity)))

    def name_of(self, number: int) -> str | None:
        """The name of an identity in the gallery."""
        found = self.database.read("SELECT name FROM identities WHERE number = ?", (number,))
        return found[0][0] if found else None

    def events(self, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events with a number above `after`, in order."""
        rows = self.database.read("SELECT content FROM events WHERE number > ? ORDER BY number LIMIT ?", (after, limit))
        return [Event.from_json(text) for (text,) in rows]

    def last_event(self) -> int:
        """The number of the last event; 0 if there was none."""
        return int(self.database.read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")[0][0])

    def undelivered(self, sink: str, limit: int = 1000) -> list[Event]:
        """The committed events that a sink has not received yet, in order."""
        return self.events(self.cursor(sink), limit)

    def cursor(self, sink: str) -> int:
        """The number of the last event that a sink has received; 0 for a new one."""
        found = self.database.read("SELECT number FROM cursors WHERE sink = ?", (sink,))
        return int(found[0][0]) if found else 0

    def progress(self, camera: str) -> tuple[int, float] | None:
        """The last processed frame of a camera, by index and time; None if there is none."""
        found = self.database.read("SELECT frame, time FROM cameras WHERE name = ? AND frame IS NOT NULL", (camera,))
        return (int(found[0][0]), float(found[0][1])) if found else None

    def cameras(self) -> dict[str, int]:
        """The number of each camera, by name; 0 if unknown."""
        rows = self.database.read("SELECT name, number FROM cameras ORDER BY coalesce(number, 0), name")
        return {name: int(number or 0) for name, number in rows}

    def has_begun(self) -> bool:
        """Whether any frame was processed."""
        return bool(self.database.read("SELECT 1 FROM cameras WHERE frame IS NOT NULL LIMIT 1"))

    def noted(self, key: str) -> str | None:
        """A fact of the watch stored by `note`."""
        found = self.database.read("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else None
