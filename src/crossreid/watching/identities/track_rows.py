"""A track as stored in the state: its row, its boxes in chunks as they came, its key frames and their crops."""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.files import remove_leftovers_in, replacing
from crossreid.watching.identities.database import Database
from crossreid.watching.tracklets import KeyFrame, Tracklet

if TYPE_CHECKING:
    from crossreid.watching.identities.state import State

CROPS = "crops"
_PIECE = np.dtype([("frame", "<i8"), ("box", "<f4", 4)])


@dataclass(frozen=True, slots=True)
class TrackRow:
    """A track without its embedding and boxes; `presence` is the row of the presence it is part of."""

    row: int
    camera: str
    track: int
    first: float
    last: float
    last_frame: int
    modality: Modality
    finished: bool
    identity: int
    presence: int
    probability: float | None
    pinned: bool


_COLUMNS = "row, camera, track, first, last, last_frame, modality, finished, identity, presence, probability, pinned"


def by_row(database: Database, row: int) -> TrackRow:
    """The track of an existing row."""
    [track] = select(database, "row = ?", row)
    return track


def find(database: Database, camera: str, track: int) -> TrackRow | None:
    """The row of a track, None if it is new."""
    return next(iter(select(database, "camera = ? AND track = ?", camera, track)), None)


def select(database: Database, where: str, *values: object) -> list[TrackRow]:
    """Rows that meet an SQL condition, by number. The `+` makes SQLite use the condition's index, then sort."""
    return [
        TrackRow(
            row,
            camera,
            track,
            first,
            last,
            frame,
            Modality(modality),
            bool(finished),
            identity,
            presence,
            p,
            bool(pinned),
        )
        for row, camera, track, first, last, frame, modality, finished, identity, presence, p, pinned in database.read(
            f"SELECT {_COLUMNS} FROM tracks WHERE {where} ORDER BY +row", values
        )
    ]


def checked(tracklet: Tracklet) -> Tracklet:
    """The tracklet, validated. Raises `DataError` for differing lengths, no box, unordered times, or an embedding that
    is not of length 1."""
    what = f"track {tracklet.track} of camera {tracklet.camera}"
    count = len(tracklet.indexes)
    if not count or tracklet.times.shape != (count,) or tracklet.boxes.shape != (count, 4):
        raise DataError(
            f"{what}: expected boxes (n, 4) of n frames and times, at least one, found {tracklet.boxes.shape}, {count} frames and "
            f"{tracklet.times.shape} times."
        )
    if (
        not np.isfinite(tracklet.times).all()
        or (np.diff(tracklet.times) < 0).any()
        or (np.diff(tracklet.indexes) <= 0).any()
    ):
        raise DataError(f"{what}: expected frames and finite times in order.")
    length = (
        float(np.linalg.norm(np.asarray(tracklet.embedding, np.float64))) if tracklet.embedding.ndim == 1 else math.nan
    )
    if not abs(length - 1) < 1e-3:
        raise DataError(
            f"{what}: expected an embedding (D,) of length 1, found shape {tracklet.embedding.shape}, length {length:.3g}."
        )
    return tracklet


def insert(state: State, tracklet: Tracklet, identity: int, presence: int, probability: float | None) -> int:
    """Store a new track; returns the number of its row."""
    row = state.database.write(
        "INSERT INTO tracks (camera, track, first, last, last_frame, modality, finished, embedding, identity, presence, probability) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tracklet.camera, tracklet.track, tracklet.start, tracklet.end, int(tracklet.indexes[-1]), int(tracklet.modality),
            tracklet.finished, packed(tracklet.embedding), identity, presence, probability,
        ),
    )  # fmt: skip
    state.database.write(
        "INSERT INTO used_tracks VALUES (?, ?) ON CONFLICT (camera) DO UPDATE SET track = max(track, excluded.track)",
        (tracklet.camera, tracklet.track),
    )
    _append_boxes(state.database, row, tracklet, -1)
    _keep_key_frames(state, row, tracklet)
    return row


def update(state: State, known: TrackRow, tracklet: Tracklet) -> None:
    """Store a later version of a track: later boxes are added; if the track now ends earlier, it was cut."""
    end = int(tracklet.indexes[-1])
    if end < known.last_frame:
        _cut_boxes(state.database, known.row, end)
    first = min(known.first, tracklet.start)
    state.database.write(
        "UPDATE tracks SET first = ?, last = ?, last_frame = ?, modality = ?, finished = ?, embedding = ? WHERE row = ?",
        (first, tracklet.end, end, int(tracklet.modality), tracklet.finished, packed(tracklet.embedding), known.row),
    )
    _append_boxes(state.database, known.row, tracklet, known.last_frame)
    _keep_key_frames(state, known.row, tracklet)


def packed(embedding: np.ndarray) -> bytes:
    """An embedding as stored in the database, float32."""
    return np.asarray(embedding, dtype="<f4").tobytes()


def unpacked(content: bytes) -> np.ndarray:
    """`(D,)` float32 from the output of `packed`."""
    return np.frombuffer(content, dtype="<f4")


def _append_boxes(database: Database, row: int, tracklet: Tracklet, after: int) -> None:
    new = np.asarray(tracklet.indexes) > after
    if new.any():
        piece = np.empty(int(new.sum()), _PIECE)
        piece["frame"], piece["box"] = np.asarray(tracklet.indexes)[new], np.asarray(tracklet.boxes)[new]
        _write_piece(database, row, piece)


def _write_piece(database: Database, row: int, piece: np.ndarray) -> None:
    content = zlib.compress(piece.tobytes(), 1)
    database.write("INSERT INTO boxes VALUES (?, ?, ?)", (row, int(piece["frame"][0]), content))


def _pieces(database: Database, row: int) -> list[np.ndarray]:
    rows = database.read("SELECT content FROM boxes WHERE track = ? ORDER BY first_frame", (row,))
    return [np.frombuffer(zlib.decompress(content), _PIECE) for (content,) in rows]


def _cut_boxes(database: Database, row: int, end: int) -> None:
    pieces = _pieces(database, row)
    database.write("DELETE FROM boxes WHERE track = ?", (row,))
    for piece in pieces:
        kept = piece[piece["frame"] <= end]
        if len(kept):
            _write_piece(database, row, kept)


def boxes_of(database: Database, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames `(n,)` and boxes `(n, 4)` of a track."""
    pieces = _pieces(database, row)
    every = np.concatenate(pieces) if pieces else np.empty(0, _PIECE)
    return every["frame"], every["box"]


def boxes_of_camera(database: Database, camera: str) -> Iterator[tuple[int, int, np.ndarray]]:
    """Frame from 0, identity and coordinates of each box of a camera, by frame; only ongoing tracks are in memory."""
    starts = database.read(
        "SELECT t.row, t.identity, (SELECT min(first_frame) FROM boxes b WHERE b.track = t.row) AS start FROM tracks t "
        "WHERE t.camera = ? ORDER BY start, t.row",
        (camera,),
    )
    waiting: list[tuple[int, int, int, np.ndarray]] = []  # frame, row, identity, box
    for row, identity, start in starts:
        while waiting and start is not None and waiting[0][0] < start:
            frame, _, number, box = heapq.heappop(waiting)
            yield frame, number, box
        for frame, box in zip(*boxes_of(database, row), strict=True):
            heapq.heappush(waiting, (int(frame), row, identity, box))
    while waiting:
        frame, _, number, box = heapq.heappop(waiting)
        yield frame, number, box


def _keep_key_frames(state: State, row: int, tracklet: Tracklet) -> None:
    """Store the track's current key frames; crops are written before the step is committed, and removed after it."""
    known = dict(state.database.read("SELECT frame, path FROM key_frames WHERE track = ?", (row,)))
    now = {one.index: one for one in tracklet.key_frames}
    for frame in known.keys() - now.keys():
        state.database.write("DELETE FROM key_frames WHERE track = ? AND frame = ?", (row, frame))
        if known[frame]:
            state.when_kept(partial(_remove_crop, state, known[frame]))
    for frame, one in now.items():
        if frame not in known:
            path = _write_crop(state, tracklet, one) if state.keep_images else ""
            state.database.write(
                "INSERT INTO key_frames VALUES (?, ?, ?, ?, ?, ?)",
                (row, frame, one.time, one.quality, np.asarray(one.box, "<f4").tobytes(), path),
            )


def _write_crop(state: State, tracklet: Tracklet, one: KeyFrame) -> str:
    path = f"{CROPS}/{tracklet.camera}-{tracklet.track:06d}-{one.index:08d}.jpg"
    with replacing(state.folder / path) as temporary:
        if isinstance(one.image, bytes):
            temporary.write_bytes(one.image)
        else:
            from PIL import Image

            Image.fromarray(one.image).save(temporary, quality=92)
    return path


def _remove_crop(state: State, path: str) -> None:
    if not state.database.read("SELECT 1 FROM key_frames WHERE path = ?", (path,)):
        (state.folder / path).unlink(missing_ok=True)


def remove_stray_crops(state: State) -> None:
    """Remove crops written by a process that died before it stored their tracks."""
    folder = state.folder / CROPS
    if not folder.is_dir():
        return
    remove_leftovers_in(folder)
    kept = {path for (path,) in state.database.read("SELECT path FROM key_frames WHERE path != ''")}
    for found in folder.iterdir():
        if f"{CROPS}/{found.name}" not in kept:
            found.unlink(missing_ok=True)
