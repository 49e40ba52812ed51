"""The entries of a gallery, single or as columns, and the results of a search.

Embeddings are compared by cosine similarity, and kept as unit vectors in float32.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.galleries.values import LATEST, camera_of, check_texts, modality_of, unit_rows, utc_seconds


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """One image of a gallery.

    embedding `(D,)`, of any length but zero, None in search results; `id` is generated if empty; `identity` is None if
    unknown, `camera` 0; `time` is when the image was taken, seconds since 1970 UTC; `source` is the path or address of
    the image; `added` is when it was added to its gallery, which sets it: a value from the caller is ignored.
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
    """The matches of one query, best first, ties ordered by id: scores `(n,)` float64, cosines in [-1, 1].

    The entries come without their embeddings. `n` is k, or less if the gallery or the filter has fewer.
    """

    ids: tuple[str, ...]
    scores: np.ndarray
    entries: tuple[Entry, ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """Each match with its score, as JSON holds it."""
        return [
            {
                "id": entry.id, "score": float(score), "identity": entry.identity, "camera": entry.camera,
                "modality": entry.modality.name.lower(), "time": entry.time, "source": entry.source,
                "added": entry.added,
            }
            for score, entry in zip(self.scores, self.entries, strict=True)
        ]  # fmt: skip


class Entries:
    """Entries as validated columns, to be added at once.

    ids and sources: N texts; embeddings `(N, D)`, made unit vectors of float32; identities: N texts or None; cameras
    and `(N,)` int64; times `(N,)` float64, NaN if unknown. Columns that are not given are unknown; ids that are empty
    or not given are generated. added `(N,)` float64 is not an argument: it is NaN and set by the gallery, except in
    those yielded by `Gallery.batches`, which keep the time their entries were added, so that a copy preserves it.
    Raises `DataError` naming the column and the row: differing lengths, NaN, a row of zeros, a duplicate id, invalid
    texts, times that an `Entry` could not have.
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
            raise DataError("entries: an identity is empty; use None if it is unknown.")
        if count and (self.cameras.min() < 0 or self.cameras.max() >= 2**31):
            raise DataError("entries: cameras are whole numbers from 0 (unknown) to 2^31 - 1.")
        if not np.isin(self.modalities, [int(m) for m in Modality]).all():
            raise DataError(f"entries: modalities must be of {[int(m) for m in Modality]}.")
        if len(set(self.ids)) != count:
            seen: set[str] = set()
            twice = next(text for text in self.ids if text in seen or seen.add(text))  # type: ignore[func-returns-value]
            raise DataError(f"entries: the id {twice!r} is given twice; an id names one entry.")

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """The columns of entries. Raises `DataError` if one has no embedding or another dimension."""
        rows = list(entries)
        for row, entry in enumerate(rows):
            if entry.embedding is None or np.ndim(entry.embedding) != 1:
                raise DataError(f"entries: expected an embedding (D,) for entry {row} ({entry.id!r}).")
            if len(entry.embedding) != len(rows[0].embedding):  # type: ignore[arg-type]
                raise DataError(
                    f"entries: entry {row} ({entry.id!r}) has {len(entry.embedding)} dimensions, "
                    f"the first one {len(rows[0].embedding)}."  # type: ignore[arg-type]
                )
        return cls(
            np.stack([np.asarray(entry.embedding) for entry in rows]) if rows else np.empty((0, 0), np.float32),
            ids=[entry.id for entry in rows],
            identities=[entry.identity for entry in rows],
            cameras=[camera_of(entry.camera) for entry in rows],
            modalities=[int(modality_of(entry.modality)) for entry in rows],
            times=[math.nan if entry.time is None else utc_seconds(entry.time) for entry in rows],
            sources=[entry.source for entry in rows],
        )

    @classmethod
    def kept(cls, entries: Iterable[Entry]) -> Entries:
        """As `of`, for stored entries, with the times when they were added."""
        rows = list(entries)
        kept = cls.of(rows)
        kept.added = np.array([math.nan if entry.added is None else entry.added for entry in rows], dtype=np.float64)
        return kept

    def stamped(self, now: float) -> Entries:
        """The same, with `added` set to now for entries not yet in a gallery."""
        stamped = self.rows(slice(None))
        stamped.added = np.where(np.isnan(self.added), now, self.added)
        return stamped

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, at: slice) -> Entries:
        """A part of it, not validated again."""
        part = Entries.__new__(Entries)
        for name in self.__slots__:
            setattr(part, name, getattr(self, name)[at])
        return part


def stacked(entries: Sequence[Entry]) -> np.ndarray:
    """`(N, D)` of entries that have their embeddings."""
    return np.array([entry.embedding for entry in entries], np.float32)


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
        raise DataError(f"entries: expected times as seconds since 1970 UTC, or NaN if unknown ({error}).") from error
    bad = np.abs(times) > LATEST
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"entries: times must be finite seconds since 1970 UTC, not nanoseconds, or NaN if unknown; row {row} is "
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
