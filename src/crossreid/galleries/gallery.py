"""A gallery: entries that are kept, filtered and searched, all embedded by one model. The contract of both backends.

Each entry is kept with the time when it was added or last replaced, so that what is older than it may be can be deleted.
What `add`, `upsert` and `delete` have returned from is kept: a process that is killed loses nothing of it (docs/search.md
says against what else). Every method may be called from several threads; one process writes at a time.
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
NOTES = ("run", "trained", "preprocessing", "calibration")  # what a gallery may keep of its model


@dataclass(frozen=True, slots=True)
class Stats:
    """What a gallery holds.

    `index` says what answers searches, `uncovered` how many entries it does not cover yet and that are compared one by
    one; `deleted` counts the deleted entries whose traces `compact` is still to remove (None where the backend does not
    say); `cameras` and `modalities` count entries (None where counting would read the whole of a cluster's collection);
    `bytes` on this machine's disk, None for a cluster. `trained` and `preprocessing` are of its `ModelCard`; `calibration`
    has the `method`, `prior` and `pairs` of the one that is kept, None where none is.
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
    """What can be done with a gallery, whatever keeps it. `open_gallery` makes one."""

    backend: str
    location: str  # a path or an address, as messages name it
    model: str
    dimension: int
    uuid: str  # of this gallery, and of copies of its files
    clock: Callable[[], float] = time.time  # says when an entry is added, seconds since 1970 UTC

    def add(self, entries: Iterable[Entry] | Entries, *, model: str | None = None) -> list[str]:
        """Add new entries, and return their ids once they are kept.

        `model` is the fingerprint of what embedded them, where the caller knows it.
        Raises `GalleryError` naming ids that are there already (nothing is added then), `ModelMismatch`, `DataError`.
        """
        checked = self._checked(entries, model)
        if len(checked):
            self._write(checked, replace=False)
        return list(checked.ids)

    def upsert(self, entries: Iterable[Entry] | Entries, *, model: str | None = None) -> list[str]:
        """As `add`, but entries of ids that are there already are replaced, all of them at once, and added anew."""
        checked = self._checked(entries, model)
        if len(checked):
            self._write(checked, replace=True)
        return list(checked.ids)

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete entries by id, or all that meet a filter; how many there were. Unknown ids are no error.

        They are found no more from then on; `compact` removes their traces from the files.
        Raises `GalleryError` unless just one of both is given, and for a filter that every entry meets.
        """
        if (ids is None) == (filter is None):
            raise GalleryError("delete: expected either ids or a filter.")
        if filter is not None and filter.is_empty:
            raise GalleryError("delete: the filter is empty, so that everything would be deleted; name a condition.")
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

        Scores are computed in float64 from the stored vectors, whatever index found the candidates, and equal scores are
        ordered by id. `exact` compares with every entry, also where there is an index.
        Raises `ModelMismatch` where `model` is another, `DataError` for wrong embeddings, `GalleryError` for k < 1.
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
                f"the gallery holds embeddings of model {self.model}, and {what} are of model {model}; they cannot be "
                "compared. Embed with the gallery's model, or keep another gallery."
            )

    def _refuse_dimension(self, embeddings: np.ndarray, what: str) -> None:
        if embeddings.shape[1] != self.dimension:
            raise GalleryError(
                f"{what}: expected {self.dimension} dimensions as the gallery has, found {embeddings.shape[1]}."
            )

    def get(self, ids: Sequence[str]) -> list[Entry | None]:
        """The entries of ids, embeddings included (unit vectors), in the order asked for; None where there is none.

        Raises `DataError` for texts that can be no ids.
        """
        return self._get(_listed(ids, "get"))

    def run(self) -> Path | None:
        """The run or the exported file of its model, where `note_run` was told one."""
        told = self._notes().get("run")
        return Path(told) if told else None

    def note_run(self, run: Path) -> None:
        """Keep where its model lies, or its name, so that pictures can be searched with; more than 1024 bytes are not kept."""
        told = str(lasting(run))
        if len(told.encode(errors="surrogateescape")) <= _LONGEST_RUN and is_utf8(run):
            self._note_changed({"run": told})

    def model_card(self) -> ModelCard:
        """What it was told of its model by `note_model`. Raises `GalleryFault` where that is damaged."""
        try:
            return ModelCard.of_texts(self._notes())
        except CrossreidError as error:
            raise damaged(self.location, error) from error

    def note_model(self, card: ModelCard) -> None:
        """Keep what is known of its model: what is told last holds."""
        self._note_changed(card.texts())

    def calibration(self) -> Calibration | None:
        """What makes probabilities of its scores, where it was told. Raises `GalleryFault` where that is damaged."""
        text = self._notes().get("calibration")
        if text is None:
            return None
        try:
            return from_short_text(text, self.location)
        except CrossreidError as error:
            raise damaged(self.location, error) from error

    def note_calibration(self, calibration: Calibration) -> None:
        """Keep the calibration of its model, with curves of fewer points: what is told last holds.

        Raises `ModelMismatch` where it is another model's.
        """
        if calibration.fingerprint != self.model:
            raise ModelMismatch(
                f"the calibration is of model {calibration.fingerprint or 'unknown'}, and {self.location} holds embeddings of "
                f"{self.model}. Calibrate the gallery's model: crossreid calibrate RUN."
            )
        self._note_changed({"calibration": short_text(calibration)})

    def note_as(self, other: Gallery) -> None:
        """Keep of its model what another gallery of it does."""
        notes = other._notes()
        self._note_changed({name: notes.get(name) for name in NOTES})

    def _note_changed(self, values: Mapping[str, str | None]) -> None:
        kept = self._notes()
        if changed := {name: value for name, value in values.items() if value != kept.get(name)}:
            self._note(changed)

    def embeddings_of(self, ids: Sequence[str]) -> np.ndarray:
        """`(N, D)` unit vectors of ids, in the order asked for. Raises `GalleryError` naming the first that is not there."""
        entries = self.get(ids)
        for name, entry in zip(ids, entries, strict=True):
            if entry is None:
                raise GalleryError(f"{self.location} has no entry {name!r}.")
        return stacked([entry for entry in entries if entry is not None])

    def known(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that there are entries of, in the order asked for. Raises `DataError` as `get`."""
        there = self._known(_listed(ids, "known"))
        return [name for name in ids if name in there]

    @abstractmethod
    def batches(self, size: int = 4096) -> Iterator[Entries]:
        """Every entry, in batches, in an order that stays the same while nothing is written.

        A gallery to which such entries are added keeps when its entries were added to this one.
        """

    @abstractmethod
    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        """So many entries drawn without repetition, or all; embeddings included, the same for the same seed and content."""

    @abstractmethod
    def stats(self) -> Stats:
        """What it holds."""

    @abstractmethod
    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        """Build the index anew over all entries, of another kind where `options` are given, and serve it when it is kept.

        Where the index that is there covers all entries and only how it is searched is to change, it stays.
        `advance(done, total)` is called as entries are indexed.
        """

    @abstractmethod
    def compact(self, advance: Advance | None = None) -> None:
        """Remove from the files all that is left of deleted and replaced entries."""

    def snapshot(self, path: Path) -> None:
        """Write a consistent copy as a gallery of its own, a folder that `open_gallery` opens and `restore` copies back.

        The folder appears under its name once it is whole; what snapshots that were killed left beside it is removed. Raises
        `GalleryError` where there is something already, and for a name that ends in .db, which would be opened as Milvus's.
        """
        path = Path(path)
        if path.name.endswith(".db"):
            raise GalleryError(
                f"{path} ends in .db, which is Milvus Lite's, and a snapshot is a folder of its own kind; give another name. "
                "`crossreid gallery restore` copies a snapshot to Milvus Lite."
            )
        if os.path.lexists(path):
            raise GalleryError(f"{path} is there already; give a path that is free.")
        self._snapshot(path)

    @abstractmethod
    def close(self) -> None:
        """Give back files, lock and memory. A closed gallery refuses all else."""

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
        """What is kept under the names of `NOTES`, where it is."""

    @abstractmethod
    def _note(self, values: Mapping[str, str | None]) -> None:
        """Keep these instead; None forgets one."""

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
    """Bytes of the files in a folder and below; a file that is replaced meanwhile counts as it is found, or not at all."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(path, name)).st_size
    return total


def counted(cameras: np.ndarray, modalities: np.ndarray) -> tuple[dict[int, int], dict[str, int]]:
    """Entries of each camera and of each modality."""
    found = np.unique(cameras, return_counts=True)
    kinds = np.unique(modalities, return_counts=True)
    return (
        {int(camera): int(count) for camera, count in zip(*found, strict=True)},
        {Modality(int(kind)).name.lower(): int(count) for kind, count in zip(*kinds, strict=True)},
    )
