"""The state of a watch, in `WATCH/state.db`: tracks, identities, presences, events, sinks' cursors, cameras' progress.

One process writes and holds the lock `WATCH/state.lock`; others may read at the same time (`read_only`). Everything
that belongs together is written in one step, which happens completely or not at all:

    with open_state(folder) as state:
        with state.step():
            events = identities.observe(tracklet)
            state.note_progress(camera, frame.index, frame.time)

Event numbers increase by one, and an event's id is the watch's id and that number. Sinks see committed events only, so
an event of a process that is killed is sent again under the same id, or was never sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossreid import files
from crossreid.watching.cameras import Camera
from crossreid.watching.events import Event, EventKind
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.database import FILE, Database, StateError
from crossreid.watching.identities.identity_ids import id_of
from crossreid.watching.identities.readings import Readings

__all__ = ["FILE", "LOCK", "State", "StateError", "WatchLocked", "open_state"]

LOCK = "state.lock"


class WatchLocked(StateError):
    """Another process, or this one, is already watching into the folder."""


def open_state(
    folder: Path, *, read_only: bool = False, create: bool = True, watch: str | None = None, keep_images: bool = True
) -> State:
    """The state of a watch folder; created if missing, unless `create` is False or it is opened `read_only`.

    watch: the id of a new watch, part of its events' ids; random by default. keep_images: whether key frames are
    saved as `crops/CAMERA-TRACK-FRAME.jpg`.
    Raises `StateError` if it is missing or damaged, `WatchLocked` if another process is writing it.
    """
    return State(Path(folder), read_only=read_only, create=create, watch=watch, keep_images=keep_images)


class State(Readings):
    """An open state. Reading is in `Readings`."""

    def __init__(
        self, folder: Path, *, read_only: bool, create: bool, watch: str | None = None, keep_images: bool = True
    ) -> None:
        self.folder = folder
        self.keep_images = keep_images
        # Code that caches what steps have written rereads it when this changes.
        self.failed_steps = 0
        self._lock: int | None = None
        self._when_kept: list[Callable[[], object]] = []
        if not read_only:
            if create:
                _make(folder)
            self._lock = _lock(folder)
        try:
            self.database = Database(folder, read_only=read_only, create=create, watch=watch)
        except BaseException:
            self._unlock()
            raise
        self.watch = self.database.watch
        if not read_only:
            track_rows.remove_stray_crops(self)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Everything written within the block is kept, or nothing; a nested step is part of the outer one.

        Raises `StateError` if it could not be stored.
        """
        with self.database.stepping:  # also during the `when_kept` calls, so that each thread runs only its own
            inner = self.database.in_step
            try:
                with self.database.step():
                    yield
            except BaseException:
                if not inner:
                    self.failed_steps += 1
                    self._when_kept.clear()
                raise
            if not inner:
                done, self._when_kept = self._when_kept, []
                for call in done:
                    call()

    def when_kept(self, call: Callable[[], object]) -> None:
        """Call this once the step is committed; not if it fails or the process dies first."""
        self._when_kept.append(call)

    def add_event(self, kind: EventKind, time: float, identity: int, *, other: int | None = None, **told: Any) -> Event:
        """Write an event with the next number; `told` are further fields of `Event`. Call this within a step."""
        number = self.last_event() + 1
        event = Event(
            f"{self.watch}-{number}", number, kind, time, id_of(identity), None if other is None else id_of(other),
            **{"name": self.name_of(identity), **told},
        )  # fmt: skip
        self.database.write(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (number, event.id, kind, time, identity, event.to_json())
        )
        return event

    def delivered(self, sink: str, number: int) -> None:
        """Record that a sink has all events up to this number. May be called from the sink's own thread."""
        with self.step():
            self.database.write(
                "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (sink) DO UPDATE SET number = max(number, excluded.number)",
                (sink, number),
            )

    def keep_cursors(self, sinks: Sequence[str]) -> list[str]:
        """Keep events for these sinks only, for new ones from the first event on; returns the sinks dropped.

        `forget` deletes no event that a sink lacks, so a sink that is gone would keep events forever.
        """
        with self.step():
            gone = [
                sink for (sink,) in self.database.read("SELECT sink FROM cursors ORDER BY sink") if sink not in sinks
            ]
            for sink in gone:
                self.database.write("DELETE FROM cursors WHERE sink = ?", (sink,))
            for sink in sinks:
                self.database.write("INSERT OR IGNORE INTO cursors VALUES (?, 0)", (sink,))
        return gone

    def note_cameras(self, cameras: Sequence[Camera]) -> None:
        """Store the cameras' names and numbers. Their progress stays; other cameras without progress are removed."""
        with self.step():
            self.database.write("DELETE FROM cameras WHERE frame IS NULL")
            for camera in cameras:
                self.database.write(
                    "INSERT INTO cameras (name, number) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number",
                    (camera.name, camera.number),
                )

    def note_progress(self, camera: str, index: int, time: float) -> None:
        """Record that a camera's frames are processed up to this index and time; in one step with their results."""
        with self.step():
            self.database.write(
                "INSERT INTO cameras (name, frame, time) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET frame = excluded.frame, time = excluded.time",
                (camera, index, time),
            )

    def note(self, key: str, value: str) -> None:
        """Store a fact of the watch under a name."""
        with self.step():
            self.database.write(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
            )

    def close(self) -> None:
        """Close the database and release the lock."""
        self.database.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            files.unlock(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make(folder: Path) -> None:
    """Make the folder, accessible only to its owner: where people were is private."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{folder} cannot be created ({error.strerror}). Expected a folder to watch into.") from error


def _lock(folder: Path) -> int:
    try:
        return files.lock(folder / LOCK)
    except files.Held as held:
        raise WatchLocked(
            f"{folder} is being watched into by {held}. Stop it there, or watch into another folder."
        ) from held
    except FileNotFoundError as error:
        raise StateError(f"{folder} is not a watch folder; `crossreid watch` creates one.") from error
    except OSError as error:
        raise StateError(f"{folder} cannot be written ({error.strerror}).") from error
