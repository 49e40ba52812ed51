"""A gallery: entries that are stored, filtered and searched, all embedded by one model. The contract of both backends.

Each entry is stored with the time it was added or last replaced, so that entries past their retention can be deleted.
Once `add`, `upsert` or `delete` has returned, its effect is durable: killing the process loses nothing of it
(docs/search.md says what else it survives). Every method may be called from several threads; one process writes at a
time.
"""

from __future__ import annotations

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.calibration_files import from_short_text, short_text
from crossreid.galleries.entries import Entries, Entry, Matches, stacked
from crossreid.galleries.errors import GalleryError, ModelMismatch, damaged
from crossreid.galleries.filters import Filter
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.model_card import ModelCard
from crossreid.galleries.values import check_texts, unit_rows
from crossreid.inference.image_files import is_utf8
from crossreid.runs.named_network import lasting

Advance = Callable[..., None]
_LONGEST_RUN = 1024  # bytes of its path
NOTES = ("run", "trained", "preprocessing", "calibration")  # what a gallery may store about its model


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a gallery.

    `index` says what answers searches, `uncovered` how many entries it does not cover yet, which are compared one by
    one; `deleted` counts the deleted entries whose traces `compact` has yet to remove (None if the backend does not
    say); `cameras` and `modalities` count entries (None if counting would read a cluster's whole collection); `bytes`
    is the size on this machine's disk, None for a cluster. `trained` and `preprocessing` are those of its `ModelCard`;
    `calibration` has the `method`, `prior` and `pairs` of the stored one, None if there is none.
    """

    backend: str
    model: str
    dimension: int
    entries: int
    index: str
    uncovered: int
    deleted: int | None
    cameras: Mapping[int, int] | None
    modalities: Mapping[str, int] | None
    bytes: int | None
    trained: str | None = None
    preprocessing: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None


class Gallery(ABC):
    """The operations on a gallery, whatever the backend. Use `open_gallery` to get one."""

    backend: str
    location: str  # a path or an address, as shown in messages
    model: str
    dimension: int
    uuid: str  # of this gallery, and of copies of its files
    clock: Callable[[], float] = time.time  # the time at which an entry is added, seconds since 1970 UTC

    def add(self, entries: Iterable[Entry] | Entries, *, model: str | None = None) -> list[str]:
        """Add new entries, and return their ids once they are stored.

        `model` is the fingerprint of the model that embedded them, if known.
        Raises `GalleryError` naming ids that already exist (nothing is added then), `ModelMismatch`, `DataError`.
        """
        checked = self._checked(entries, model)
        if len(checked):
            self._write(checked, replace=False)
        return list(checked.ids)

    def upsert(self, entries: Iterable[Entry] | Entries, *, model: str | None = None) -> list[str]:
        """As `add`, but entries with existing ids are replaced, all at once, and count as newly added."""
        checked = self._checked(entries, model)
        if len(checked):
            self._write(checked, replace=True)
        return list(checked.ids)

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete entries by id, or all that meet a filter; returns how many there were. Unknown ids are not an error.

        From then on they are no longer found; `compact` removes their traces from the files.
        Raises `GalleryError` unless exactly one of the two is given, and for a filter that every entry meets.
        """
        if (ids is None) == (filter is None):
            raise GalleryError("delete: expected either ids or a filter.")
        if filter is not None and filter.is_empty:
            raise GalleryError("delete: the filter is empty, so everything would be deleted; name a condition.")
        return self._delete(None if ids is None else list(dict.fromkeys(_listed(ids, "delete"))), filter)

    def search(
        self,
        embeddings: np.ndarray,
        k: int = 10,
        filter: Filter | None = None,
        *,
        model: str | None = None,
        exact: bool = False,
    ) -> list[Matches]:
        """The k entries nearest to each of the queries `(Q, D)` by cosine similarity, among those that meet the filter.

        Scores are computed in float64 from the stored vectors, whichever index found the candidates; ties are
        ordered by id. `exact` compares with every entry even if there is an index.
        Raises `ModelMismatch` if `model` differs, `DataError` for invalid embeddings, `GalleryError` for k < 1.
        """
        self._refuse_model(model, "the query")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise GalleryError(f"search: expected k of at least 1, found {k!r}.")
        queries = unit_rows(embeddings, "queries")
        if not len(queries):
            return []
        self._refuse_dimension(queries, "queries")
        chosen = None if filter is None or filter.is_empty else filter
        return self._search(queries, int(k), chosen, exact)

    def _checked(self, entries: Iterable[Entry] | Entries, model: str | None) -> Entries:
        self._refuse_model(model, "the embeddings")
        checked = entries if isinstance(entries, Entries) else Entries.of(entries)
        if len(checked):
            self._refuse_dimension(checked.embeddings, "embeddings")
        return checked.stamped(self.clock())

    def _refuse_model(self, model: str | None, what: str) -> None:
        if model is not None and model != self.model:
            raise ModelMismatch(
                f"the gallery holds embeddings of model {self.model}, but {what} are of model {model}; they cannot be "
                "compared. Embed with the gallery's model, or use another gallery."
            )

    def _refuse_dimension(self, embeddings: np.ndarray, what: str) -> None:
        if embeddings.shape[1] != self.dimension:
            raise GalleryError(
                f"{what}: expected {self.dimension} dimensions as in the gallery, found {embeddings.shape[1]}."
            )

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """The entries of ids with their embeddings (unit vectors), in the order requested; None for missing ones.

        Raises `DataError` for invalid ids.
        """
        return self._get(_listed(ids, "get"))

    def run(self) -> Path | None:
        """The run or exported file of its model, if recorded by `note_run`."""
        told = self._notes().get("run")
        return Path(told) if told else None

    def note_run(self, run: Path) -> None:
        """Record the location or name of its model, so that pictures can be used as queries; at most 1024 bytes."""
        told = str(lasting(run))
        if len(told.encode(errors="surrogateescape")) <= _LONGEST_RUN and is_utf8(run):
            self._note_changed({"run": told})

    def model_card(self) -> ModelCard:
        """The model card recorded by `note_model`. Raises `GalleryFault` if it is damaged."""
        try:
            return ModelCard.of_texts(self._notes())
        except CrossreidError as error:
            raise damaged(self.location, error) from error

    def note_model(self, card: ModelCard) -> None:
        """Record what is known about its model; the last call wins."""
        self._note_changed(card.texts())

    def calibration(self) -> Calibration | None:
        """The calibration of its scores, if recorded. Raises `GalleryFault` if it is damaged."""
        text = self._notes().get("calibration")
        if text is None:
            return None
        try:
            return from_short_text(text, self.location)
        except CrossreidError as error:
            raise damaged(self.location, error) from error

    def note_calibration(self, calibration: Calibration) -> None:
        """Record the calibration of its model, with curves thinned to fewer points; the last call wins.

        Raises `ModelMismatch` if it is another model's.
        """
        if calibration.fingerprint != self.model:
            raise ModelMismatch(
                f"the calibration is of model {calibration.fingerprint or 'unknown'}, but {self.location} holds embeddings of "
                f"{self.model}. Calibrate the gallery's model: crossreid calibrate RUN."
            )
        self._note_changed({"calibration": short_text(calibration)})

    def note_as(self, other: Gallery) -> None:
        """Copy what another gallery of the same model records about it."""
        notes = other._notes()
        self._note_changed({name: notes.get(name) for name in NOTES})

    def _note_changed(self, values: Mapping[str, str | None]) -> None:
        kept = self._notes()
        if changed := {name: value for name, value in values.items() if value != kept.get(name)}:
            self._note(changed)

    def embeddings_of(self, ids: Sequence[str]) -> np.ndarray:
        """`(N, D)` unit vectors of ids, in the order requested. Raises `GalleryError` naming the first missing one."""
        entries = self.get(ids)
        for name, entry in zip(ids, entries, strict=True):
            if entry is None:
                raise GalleryError(f"{self.location} has no entry {name!r}.")
        return stacked([entry for entry in entries if entry is not None])

    def known(self, ids: Sequence[str]) -> list[str]:
        """The ids that have entries, in the order requested. Raises `DataError` as `get`."""
        there = self._known(_listed(ids, "known"))
        return [name for name in ids if name in there]

    @abstractmethod
    def batches(self, size: int = 4096) -> Iterator[Entries]:
        """Every entry, in batches, in an order that is stable as long as nothing is written.

        A gallery to which these are added keeps the times at which they were added to this one.
        """

    @abstractmethod
    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        """A random sample of distinct entries, or all, with embeddings; the same for the same seed and content."""

    @abstractmethod
    def stats(self) -> Stats:
        """Statistics of the gallery."""

    @abstractmethod
    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        """Rebuild the index over all entries, of another kind if `options` are given, and use it once it is stored.

        An index that covers all entries is kept if only its search options change.
        `advance(done, total)` is called as entries are indexed.
        """

    @abstractmethod
    def compact(self, advance: Advance | None = None) -> None:
        """Remove all traces of deleted and replaced entries from the files."""

    def snapshot(self, path: Path) -> None:
        """Write a consistent copy as a separate gallery, a folder that `open_gallery` opens and `restore` copies back.

        The folder appears under its name once it is complete; leftovers of killed snapshots beside it are removed.
        Raises `GalleryError` if the path exists, and for a name that ends in .db, which would be opened as Milvus's.
        """
        path = Path(path)
        if path.name.endswith(".db"):
            raise GalleryError(
                f"{path} ends in .db, which is for Milvus Lite, but a snapshot is a folder; give another name. "
                "`crossreid gallery restore` copies a snapshot to Milvus Lite."
            )
        if os.path.lexists(path):
            raise GalleryError(f"{path} already exists; give a new path.")
        self._snapshot(path)

    @abstractmethod
    def close(self) -> None:
        """Release files, lock and memory. A closed gallery refuses everything else."""

    @abstractmethod
    def _write(self, entries: Entries, *, replace: bool) -> None: ...

    @abstractmethod
    def _delete(self, ids: list[str] | None, filter: Filter | None) -> int: ...

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int, filter: Filter | None, exact: bool) -> list[Matches]: ...

    @abstractmethod
    def _get(self, ids: list[str]) -> list[Entry | None]: ...

    @abstractmethod
    def _known(self, ids: list[str]) -> set[str]: ...

    @abstractmethod
    def _notes(self) -> Mapping[str, str]:
        """The stored values under the names of `NOTES`, if any."""

    @abstractmethod
    def _note(self, values: Mapping[str, str | None]) -> None:
        """Store these instead; None removes one."""

    @abstractmethod
    def _snapshot(self, path: Path) -> None: ...

    @abstractmethod
    def __len__(self) -> int: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listed(ids: Sequence[str], what: str) -> list[str]:
    if isinstance(ids, str):
        raise GalleryError(f"{what}: expected a list of ids, found the text {ids!r}.")
    check_texts(ids, "id")
    return list(ids)


def bytes_in(folder: Path) -> int:
    """Bytes of all files under a folder; a file replaced meanwhile counts as found, or not at all."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(path, name)).st_size
    return total


def counted(cameras: np.ndarray, modalities: np.ndarray) -> tuple[dict[int, int], dict[str, int]]:
    """Numbers of entries per camera and per modality."""
    found = np.unique(cameras, return_counts=True)
    kinds = np.unique(modalities, return_counts=True)
    return (
        {int(camera): int(count) for camera, count in zip(*found, strict=True)},
        {Modality(int(kind)).name.lower(): int(count) for kind, count in zip(*kinds, strict=True)},
    )
