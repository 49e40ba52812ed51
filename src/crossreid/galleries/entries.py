"""What a gallery holds and what is asked of it: entries, one by one or as columns, and filters on what is known of them.

Times are seconds since 1970-01-01 UTC, as float64; `utc_seconds` reads ISO 8601. Embeddings are compared by cosine
similarity, and kept as unit vectors in float32.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from crossreid.data.records import DataError, Modality, iso_seconds
from crossreid.errors import CrossreidError

# Bytes of UTF-8; what both backends hold.
LIMITS = {"id": 512, "identity": 512, "source": 4096}
_LATEST = 1e15  # seconds either way of 1970; what is beyond was meant in smaller units
_BLOCK = 65_536


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """One image of a gallery.

    embedding `(D,)`, of any length but zero, None in the results of a search; `id` is generated where it is empty;
    `identity` is None where unknown, `camera` 0; `time` is when the image was taken, seconds since 1970 UTC; `source` is
    the path or the address of the image; `added` is when it came into its gallery, which sets it: what a caller says of it
    counts for nothing.
    """

    embedding: np.ndarray | None
    id: str = ""
    identity: str | None = None
    camera: int = 0
    modality: Modality = Modality.VISIBLE
    time: float | None = None
    source: str = ""
    added: float | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """What one query found, best first, entries of equal score by id: scores `(n,)` float64, cosines in [-1, 1].

    The entries come without their embeddings. `n` is k, or less where the gallery or the filter has no more.
    """

    ids: tuple[str, ...]
    scores: np.ndarray
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that all hold of an entry. Raises `CrossreidError` for one that nothing could meet.

    `since` <= time < `until`, so an entry without a time meets neither; `cameras`: any of them; `source` is compared
    whole, `source_prefix` from the start, both letter by letter. `added_until`: added to the gallery before that time.
    """

    identity: str | None = None
    cameras: tuple[int, ...] | None = None
    modality: Modality | None = None
    since: float | None = None
    until: float | None = None
    source: str | None = None
    source_prefix: str | None = None
    added_until: float | None = None

    def __post_init__(self) -> None:
        if self.cameras is not None:
            cameras = tuple(sorted({_camera(camera) for camera in self.cameras}))
            if not cameras:
                raise CrossreidError("filter: cameras is empty and nothing could match; leave it out, or name some.")
            object.__setattr__(self, "cameras", cameras)
        if self.modality is not None:
            object.__setattr__(self, "modality", modality_of(self.modality))
        for name in ("since", "until", "added_until"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, utc_seconds(value))
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise CrossreidError(
                f"filter: since {self.since} is not before until {self.until}, so that nothing could match."
            )
        for name, kind in (("identity", "identity"), ("source", "source"), ("source_prefix", "source")):
            value = getattr(self, name)
            if value is not None:
                check_texts([value], kind)
        if self.identity == "":
            raise CrossreidError("filter: an identity is never empty; leave it out, or name one.")

    @property
    def is_empty(self) -> bool:
        """Whether every entry meets it."""
        return self == Filter() or self == Filter(source_prefix="")


class Batch:
    """Entries as columns, checked: what is added at once.

    ids and sources: N texts; embeddings `(N, D)`, made unit vectors of float32; identities: N texts or None; cameras and
    modalities `(N,)` int64; times `(N,)` float64, NaN where unknown. Columns that are not given are unknown; ids that are
    empty or not given are generated. added `(N,)` float64 is no argument: it is NaN and the gallery's to set, but in batches of
    `Gallery.batches`, which say when their entries were added, so that a copy keeps it.
    Raises `DataError` naming the column and the row: other lengths, NaN, a row of zeros, an id twice, wrong texts, times that
    an `Entry` could not have.
    """

    __slots__ = ("added", "cameras", "embeddings", "identities", "ids", "modalities", "sources", "times")

    def __init__(
        self,
        embeddings: np.ndarray,
        *,
        ids: Sequence[str] | None = None,
        identities: Sequence[str | None] | None = None,
        cameras: np.ndarray | Sequence[int] | None = None,
        modalities: np.ndarray | Sequence[int] | None = None,
        times: np.ndarray | Sequence[float] | None = None,
        sources: Sequence[str] | None = None,
    ) -> None:
        self.embeddings = unit_rows(embeddings)
        count = len(self.embeddings)
        self.ids = [text or uuid.uuid4().hex for text in (ids if ids is not None else [""] * count)]
        self.identities: list[str | None] = [None] * count if identities is None else list(identities)
        self.sources = [""] * count if sources is None else list(sources)
        self.cameras = _whole(cameras, count, "cameras")
        self.modalities = _whole(modalities, count, "modalities")
        self.times = _times(times, count)
        self.added = np.full(count, np.nan)
        for name in ("ids", "identities", "cameras", "modalities", "times", "sources"):
            if len(getattr(self, name)) != count:
                raise DataError(
                    f"entries: expected one of {name} for each of {count} embeddings, found {len(getattr(self, name))}."
                )
        check_texts(self.ids, "id")
        check_texts(self.sources, "source")
        known = [text for text in self.identities if text is not None]
        check_texts(known, "identity")
        if "" in known:
            raise DataError("entries: an identity is empty; use None where it is unknown.")
        if count and (self.cameras.min() < 0 or self.cameras.max() >= 2**31):
            raise DataError("entries: cameras are whole numbers from 0, which is unknown, to 2^31 - 1.")
        if not np.isin(self.modalities, [int(m) for m in Modality]).all():
            raise DataError(f"entries: modalities must be of {[int(m) for m in Modality]}.")
        if len(set(self.ids)) != count:
            seen: set[str] = set()
            twice = next(text for text in self.ids if text in seen or seen.add(text))  # type: ignore[func-returns-value]
            raise DataError(f"entries: the id {twice!r} is given twice; an id names one entry.")

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Batch:
        """The columns of entries. Raises `DataError` where one has no embedding or another number of dimensions."""
        rows = list(entries)
        for row, entry in enumerate(rows):
            if entry.embedding is None or np.ndim(entry.embedding) != 1:
                raise DataError(f"entries: expected an embedding (D,) of entry {row} ({entry.id!r}).")
            if len(entry.embedding) != len(rows[0].embedding):  # type: ignore[arg-type]
                raise DataError(
                    f"entries: entry {row} ({entry.id!r}) has {len(entry.embedding)} dimensions, "
                    f"the first one {len(rows[0].embedding)}."  # type: ignore[arg-type]
                )
        return cls(
            np.stack([np.asarray(entry.embedding) for entry in rows]) if rows else np.empty((0, 0), np.float32),
            ids=[entry.id for entry in rows],
            identities=[entry.identity for entry in rows],
            cameras=[_camera(entry.camera) for entry in rows],
            modalities=[int(modality_of(entry.modality)) for entry in rows],
            times=[math.nan if entry.time is None else utc_seconds(entry.time) for entry in rows],
            sources=[entry.source for entry in rows],
        )

    @classmethod
    def kept(cls, entries: Iterable[Entry]) -> Batch:
        """As `of`, of entries that a gallery keeps, with the times when they were added."""
        rows = list(entries)
        batch = cls.of(rows)
        batch.added = np.array([math.nan if entry.added is None else entry.added for entry in rows], dtype=np.float64)
        return batch

    def stamped(self, now: float) -> Batch:
        """The same, those added now that no gallery has added yet."""
        batch = self.rows(slice(None))
        batch.added = np.where(np.isnan(self.added), now, self.added)
        return batch

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, at: slice) -> Batch:
        """A part of it, checked no more."""
        part = Batch.__new__(Batch)
        for name in self.__slots__:
            setattr(part, name, getattr(self, name)[at])
        return part


def stacked(entries: Sequence[Entry]) -> np.ndarray:
    """`(N, D)` of entries that have their embeddings."""
    return np.array([entry.embedding for entry in entries], np.float32)


def unit_rows(embeddings: np.ndarray, what: str = "embeddings") -> np.ndarray:
    """`(N, D)` float32 unit vectors, contiguous. Raises `DataError` that names the first row that is NaN, infinite, 0."""
    rows = np.asarray(embeddings)
    if rows.ndim != 2:
        raise DataError(f"{what}: expected an array (N, D), found shape {rows.shape}.")
    if rows.dtype.kind not in "fiu":
        raise DataError(f"{what}: expected numbers, found {rows.dtype}.")
    units = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        # By the largest value first: squares of very small or very large numbers are no numbers.
        largest = np.abs(block).max(axis=1, initial=0.0)
        bad = ~np.isfinite(largest) | (largest == 0)
        if bad.any():
            row = int(bad.argmax())
            kind = "all zeros" if largest[row] == 0 else "NaN or infinite"
            raise DataError(f"{what}: row {start + row} is {kind}; embed it again.")
        block /= largest[:, None]
        units[start : start + _BLOCK] = block / np.sqrt(np.square(block).sum(axis=1, keepdims=True))
    return units


def utc_seconds(time: float | str | datetime) -> float:
    """Seconds since 1970 UTC of a number of them, of ISO 8601 text or of a datetime; without a zone they are UTC.

    Raises:
        CrossreidError: no time, or not finite.
    """
    if isinstance(time, str):
        text = time.strip()
        if len(text) == 4 and text.isdecimal():
            raise CrossreidError(f"time {time!r}: is it a year? Write {text}-01-01 for its beginning.")
        try:
            time = iso_seconds(text)
        except ValueError as error:
            try:
                time = float(text)
            except ValueError:
                raise CrossreidError(
                    f"time {time!r}: expected ISO 8601, for example 2026-11-21T08:30:00Z, or seconds since 1970 UTC."
                ) from error
    if isinstance(time, datetime):
        time = iso_seconds(time)
    if (
        isinstance(time, bool)
        or not isinstance(time, int | float | np.integer | np.floating)
        or not math.isfinite(time)
    ):
        raise CrossreidError(f"time {time!r}: expected finite seconds since 1970 UTC.")
    if abs(time) > _LATEST:
        raise CrossreidError(f"time {time!r}: expected seconds since 1970 UTC, not milliseconds or less.")
    return float(time)


def modality_of(value: Modality | int | str) -> Modality:
    """`Modality` of its value or of its name, visible or infrared. Raises `CrossreidError`."""
    try:
        return Modality[value.upper()] if isinstance(value, str) else Modality(value)
    except (KeyError, ValueError) as error:
        raise CrossreidError(f"modality {value!r}: expected visible or infrared.") from error


def check_texts(texts: Sequence[str], what: str) -> None:
    """Raises `DataError` naming the first that is not text, too long, or that UTF-8 or a database cannot hold."""
    for text in texts:
        # Most texts are short and plain: one test tells them from the rest.
        if isinstance(text, str) and text.isascii() and len(text) <= LIMITS[what] and "\0" not in text:
            continue
        if not isinstance(text, str):
            raise DataError(f"{what}: expected text, found {type(text).__name__}.")
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            raise DataError(f"{what} {text!r} is not valid Unicode ({error.reason}).") from error
        if length > LIMITS[what]:
            raise DataError(f"{what} {text[:40]!r}... has {length} bytes of UTF-8; at most {LIMITS[what]} can be kept.")
        if "\0" in text:
            raise DataError(f"{what} {text!r} holds a NUL character, which cannot be kept.")


def prefix_end(prefix: str) -> str | None:
    """The first text after all that start with `prefix`, by code points as by bytes of UTF-8; None if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # surrogates are no characters
        prefix = prefix[:-1]
    return None


def _camera(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**31:
        raise CrossreidError(f"camera {value!r}: expected a whole number from 0, which is unknown, to 2^31 - 1.")
    return int(value)


def _whole(values: np.ndarray | Sequence[int] | None, count: int, what: str) -> np.ndarray:
    if values is None:
        return np.zeros(count, dtype=np.int64)
    array = _column(values, what)
    if len(array) and array.dtype.kind not in "iu":
        raise DataError(f"entries: expected {what} as whole numbers, found {array.dtype}.")
    return array.astype(np.int64)


def _times(values: np.ndarray | Sequence[float] | None, count: int) -> np.ndarray:
    if values is None:
        return np.full(count, np.nan)
    array = _column(values, "times")
    try:
        if array.dtype.kind not in "fiuO":
            raise TypeError(f"found {array.dtype}")
        times = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"entries: expected times as seconds since 1970 UTC, or NaN where unknown ({error})."
        ) from error
    bad = np.abs(times) > _LATEST
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"entries: times must be finite seconds since 1970 UTC, not nanoseconds, or NaN where unknown; row {row} is "
            f"{times[row]}."
        )
    return times


def _column(values: np.ndarray | Sequence[float], what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"entries: expected one of {what} for each embedding ({error}).") from error
    if array.ndim != 1:
        raise DataError(f"entries: expected {what} as an array (N,), found shape {array.shape}.")
    return array
