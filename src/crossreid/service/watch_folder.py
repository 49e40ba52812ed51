"""The folder of a watch as the service uses it: who was where, read while `crossreid watch` writes, and corrections."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from crossreid.errors import CrossreidError
from crossreid.galleries.errors import GalleryFault
from crossreid.service import watch_schemas as schemas
from crossreid.service.refusals import Refusal
from crossreid.watching.events import Event
from crossreid.watching.identities.decisions import IdentityConflict, ask_merge, ask_split
from crossreid.watching.identities.state import open_state


@dataclass(frozen=True, slots=True)
class Crop:
    """The image of a key frame, and its identity."""

    jpeg: bytes
    index: int
    identity: str


class WatchFolder:
    """What routes need from a watch. Safe to call from any thread. Raises `CrossreidError` if the folder holds no watch."""

    def __init__(
        self, folder: Path, correcting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    ) -> None:
        self.folder = folder
        self._correcting, self._alone = threading.Lock(), correcting  # among the threads here, and among processes
        self._state = open_state(folder, read_only=True)

    def timeline(
        self, since: float | None, until: float | None, *, cameras: Sequence[str] | None, limit: int
    ) -> schemas.Timeline:
        """Presences in a time span and in some cameras. Raises `Refusal` (404) for an unknown camera."""
        with _answering():
            known = self._state.cameras()
            for name in cameras or ():
                if name not in known:
                    raise Refusal(404, f"there is no camera {name[:100]!r}, only {', '.join(known) or 'none yet'}.")
            latest = self._state.last_event()  # read before the presences, so that nothing in between is missed
            found = self._state.timeline(since, until, cameras=cameras, limit=limit + 1)
        return schemas.Timeline(
            cameras=[schemas.WatchedCamera(name=name, number=number) for name, number in known.items()],
            presences=[
                schemas.PresenceOut(
                    number=one.number, identity=one.identity, name=one.name, camera=one.camera, first=one.first, last=one.last,
                    open=one.open, modality=one.modality.name.lower(), tracks=one.tracks, probability=one.probability,  # type: ignore[arg-type]
                )
                for one in found[:limit]
            ],
            more=len(found) > limit, latest=latest,
        )  # fmt: skip

    def events(self, after: int, limit: int) -> schemas.Events:
        """Events with a number above `after`."""
        with _answering():
            found = self._state.events(after, limit)
        return schemas.Events(events=[asdict(event) for event in found], latest=found[-1].number if found else after)

    def identities(self) -> schemas.Identities:
        """All identities that were seen."""
        with _answering():
            found = self._state.identities()
        return schemas.Identities(
            identities=[
                schemas.IdentityOut(
                    identity=one.identity, name=one.name, first=one.first, last=one.last, tracks=one.tracks, images=one.images,
                    cameras=list(one.cameras),
                )
                for one in found
            ],
            first=min((one.first for one in found), default=None), last=max((one.last for one in found), default=None),
        )  # fmt: skip

    def identity(self, id: str) -> schemas.IdentityTracks:
        """An identity with its tracks. Raises `Refusal` (404) if there is none."""
        present = self._present(id)
        with _answering():
            tracks = self._state.tracks_of(present)
        return schemas.IdentityTracks(
            identity=present, name=tracks[0].name if tracks else None,
            tracks=[
                schemas.TrackOut(
                    number=track.number, camera=track.camera, first=track.first, last=track.last,
                    modality=track.modality.name.lower(), finished=track.finished, probability=track.probability,  # type: ignore[arg-type]
                    pinned=track.pinned,
                    crops=[
                        schemas.CropOut(index=image.index, time=image.time, image=bool(image.path)) for image in track.images
                    ],
                )
                for track in tracks
            ],
        )  # fmt: skip

    def crop(self, track: int, index: int | None) -> Crop:
        """A key frame of a track, by default its best one. Raises `Refusal` (404) if no image was kept."""
        with _answering():
            found = self._state.track_by_number(track)
        if found is None:
            raise Refusal(404, f"there is no track {track}; it may have been deleted.")
        images = [image for image in found.images if image.path and index in (None, image.index)]
        for image in sorted(images, key=lambda image: -image.quality):
            path = (self.folder / image.path).resolve()
            if not path.is_relative_to(self.folder.resolve()):
                continue
            try:
                return Crop(path.read_bytes(), image.index, found.identity)
            except FileNotFoundError:  # deleted meanwhile
                continue
            except OSError as error:
                raise GalleryFault(f"{path} cannot be read ({error.strerror}).") from error
        raise Refusal(404, f"no image of track {track} was kept that can be shown.")

    def merge(self, into: str, other: str, by: str) -> schemas.RequestOut:
        """Merge two identities. Raises `Refusal`: 409 if that is impossible, 404 if one of them does not exist."""
        for identity in (into, other):
            self._present(identity)
        return self._correct(partial(ask_merge, self.folder, into, other, by))

    def split(self, identity: str, tracks: Sequence[int], by: str) -> schemas.RequestOut:
        """Split tracks off their identity. Raises `Refusal`: 409 if that is impossible, 404 if it does not exist."""
        self._present(identity)
        return self._correct(partial(ask_split, self.folder, identity, tracks, by))

    def asked(self, number: int) -> schemas.RequestOut:
        """The outcome of a request to the watching process. Raises `Refusal` (404) if there was none."""
        with _answering():
            rows = self._state.database.read("SELECT event, refused FROM requests WHERE number = ?", (number,))
        if not rows:
            raise Refusal(404, f"there is no request with the number {number}.")
        ((event, refused),) = rows
        state: Literal["asked", "done", "refused"] = "done" if event is not None else "refused" if refused else "asked"
        return schemas.RequestOut(request=number, state=state, event=event, refused=refused)

    def close(self) -> None:
        self._state.close()

    def _correct(self, ask: Callable[[], Event | int]) -> schemas.RequestOut:
        # One at a time, as each takes the folder's lock if nobody is watching.
        with self._correcting, self._alone(), _answering():
            try:
                done = ask()
            except IdentityConflict as error:
                raise Refusal(409, str(error)) from error
        if isinstance(done, int):
            return schemas.RequestOut(request=done, state="asked")
        return schemas.RequestOut(request=0, state="done", event=done.number)

    def _present(self, identity: str) -> str:
        """The identity, or the one it was merged into. Raises `Refusal` (404) if there is none."""
        with _answering():
            try:
                return self._state.resolve(identity)
            except CrossreidError as error:
                if isinstance(error.__cause__, sqlite3.Error):
                    raise
                raise Refusal(404, str(error)) from error


@contextmanager
def _answering() -> Iterator[None]:
    """A client cannot repair a failing database."""
    try:
        yield
    except CrossreidError as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise GalleryFault(str(error)) from error
        raise
