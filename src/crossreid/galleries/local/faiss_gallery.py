"""A gallery in process: entries in a SQLite database (`store`), vectors in memory, compared by faiss (`vector_table`,
`faiss_index`).

    FOLDER/gallery.sqlite   every entry and vector, and which index file is served; -wal and -shm beside it while open
    FOLDER/index-*.faiss    an approximate index, built from the database and named in it with its size and SHA-256
    FOLDER/lock             which process has it open for writing

Exact unless another index is configured. Entries not yet covered by an index are compared one by one, so a search
always sees what was added; a filter that leaves few entries is answered exactly. With IVF-PQ, the vectors covered by
the index stay on disk, and those of candidates are read from there.

Writing changes the database, then creates a new `State`; running searches continue with the one they started with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from crossreid.evaluation.calibration import about
from crossreid.galleries import locking, unfinished_folders
from crossreid.galleries.entries import Entries, Entry, Matches
from crossreid.galleries.errors import GalleryError, another_model, opened_read_only
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Advance, Gallery, Stats, bytes_in, counted
from crossreid.galleries.index_options import LEAST_FOR_LISTS, IndexOptions
from crossreid.galleries.local import candidates, faiss_index, index_file, store, vector_table
from crossreid.galleries.local.database import FILE, as_one_file
from crossreid.galleries.local.faiss_index import ServedIndex
from crossreid.galleries.local.loading import load_state
from crossreid.galleries.local.state import Chosen, State
from crossreid.galleries.local.store import Store
from crossreid.galleries.local.vector_table import VectorTable
from crossreid.galleries.location import check_presence

REBUILT_AT_ONCE = 50_000  # entries up to which an index is rebuilt on opening, in seconds


class FaissGallery(Gallery):
    """A gallery in a folder. `open_gallery` opens and creates it.

    A read-only one takes no lock and sees the entries at the time of opening, without those deleted since.
    Raises `GalleryError` for a folder without one, `ModelMismatch`, `GalleryLocked`.
    """

    backend = "faiss"

    def __init__(self, folder: Path, *, model: str | None = None, read_only: bool = False) -> None:
        vector_table.use_matrix_products()
        self.folder, self.location = folder, str(folder)
        self.read_only = read_only
        self._lock: int | None = None
        self._writing = threading.RLock()
        self._building = threading.RLock()  # taken before _writing
        if not (folder / FILE).is_file():
            Store(folder)  # raises the error
        if not read_only:
            self._lock = locking.lock(folder / "lock")
        try:
            self._store = Store(folder, read_only=read_only)
            facts = self._store.facts
            self.model, self.uuid, self.dimension, self.options = (
                facts.model,
                facts.uuid,
                facts.dimension,
                facts.options,
            )
            if model is not None and model != self.model:
                raise another_model(folder, self.model, model)
            self._why_exact = ""
            self._load()
            if not read_only:
                index_file.remove_others(folder, self._state.served)  # left by a process that died, or damaged
                unfinished_folders.remove_unfinished(folder.absolute().parent)
                self._index_if_stale()
        except BaseException:
            self.close()
            raise

    @classmethod
    def opened(
        cls,
        folder: Path,
        *,
        model: str | None,
        dimension: int | None,
        options: IndexOptions,
        create: bool | None,
        read_only: bool,
    ) -> FaissGallery:
        """The gallery of a folder, created if missing and `create` allows it, as in `open_gallery`."""
        there = (folder / FILE).is_file()
        check_presence(str(folder), there, create, model, dimension)
        if there:
            return cls(folder, model=model, read_only=read_only)
        assert model is not None
        assert dimension is not None
        return cls.create(folder, model, dimension, options)

    @classmethod
    def create(cls, folder: Path, model: str, dimension: int, options: IndexOptions) -> FaissGallery:
        """A new, empty gallery. Raises `GalleryError` if the folder exists, `CrossreidError` for impossible options."""
        options.refuse(dimension)
        store.create(folder, model, dimension, options)
        return cls(folder)

    def _load(self) -> None:
        self._state, self._why_exact = load_state(self._store, self.folder, others_write=self.read_only)

    def close(self) -> None:
        with self._building, self._writing:
            if hasattr(self, "_store"):
                self._store.close()
            if self._lock is not None:
                locking.unlock(self._lock)
                self._lock = None

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise opened_read_only(self.folder)

    def _notes(self) -> Mapping[str, str]:
        return self._store.facts.notes()

    def _note(self, values: Mapping[str, str | None]) -> None:
        self._refuse_read_only()
        with self._writing:
            self._store.facts.note(values)

    # Writing, and reading by id.

    def _write(self, entries: Entries, *, replace: bool) -> None:
        with self._writing:
            rows, replaced = self._store.insert(entries, replace=replace)
            try:
                state = self._state.without(replaced)
                columns = (entries.cameras, entries.modalities, entries.times, entries.added)
                table = vector_table.extended(state.table, rows, columns, entries.embeddings)
                self._state = State(table, state.served)
            except BaseException:
                self._load_again()
                raise

    def _delete(self, ids: list[str] | None, filter: Filter | None) -> int:
        with self._writing:
            if ids is not None:
                rows = list(self._store.rows_of(ids).values())
            elif filter is not None and filter.of_texts:
                rows = self._store.rows_where(filter)
            else:  # the database would have to read every entry
                table = self._state.table
                rows = table.rows[table.allowed(filter or Filter(), None)].tolist()
            self._store.delete(rows)
            try:
                self._state = self._state.without(rows)
            except BaseException:
                self._load_again()
                raise
        return len(rows)

    def _load_again(self) -> None:
        """Reload what is stored after a fault or an interruption, without a further fault hiding the first."""
        with contextlib.suppress(GalleryError):
            self._load()

    def _get(self, ids: list[str]) -> list[Entry | None]:
        rows = self._store.rows_of(ids)
        found = self._store.entries_of(list(rows.values()), embeddings=True)
        return [found.get(rows.get(name, -1)) for name in ids]

    def _known(self, ids: list[str]) -> set[str]:
        return set(self._store.rows_of(ids))

    def batches(self, size: int = 4096) -> Iterator[Entries]:
        return self._store.batches(size)

    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        table = self._state.table
        alive = np.flatnonzero(table.alive)
        positions = np.sort(np.random.default_rng(seed).choice(alive, min(count, len(alive)), replace=False))
        return list(self._store.entries_of(table.rows[positions].tolist(), embeddings=True).values())

    def __len__(self) -> int:
        return self._state.table.alive_count

    # Searching.

    def _search(self, queries: np.ndarray, k: int, filter: Filter | None, exact: bool) -> list[Matches]:
        while True:
            state = self._state
            chosen = self._chosen(state, filter)
            if chosen is None:
                continue
            try:
                found = candidates.candidates_of(state, chosen, queries, k, exact)
                return candidates.matches_of(found, state.table, self._store, k)
            except candidates.Gone as gone:  # another process, or thread, has deleted them
                with self._writing:
                    self._state = self._state.without(gone.rows.tolist())

    def _chosen(self, state: State, filter: Filter | None) -> Chosen | None:
        """What a filter leaves of a state; None if the database has newer content, so a newer state is needed."""
        known = state.remembered(filter)
        if known is not None:
            return known
        rows = None
        if filter is not None and filter.of_texts:
            rows = np.array(self._store.rows_where(filter), np.int64)
            if len(rows) and not self.read_only and rows[-1] > (state.table.rows[-1] if len(state.table) else 0):
                with self._writing:  # wait until what was written has become a state
                    return None
        return state.choose(filter, rows)

    # The life of the index.

    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        with self._building:
            with self._writing:
                self._refuse_read_only()
                state = self._state
            table, now, wanted = state.table, state.served, options or self.options
            wanted.refuse(self.dimension)
            served = None
            whole = now is not None and len(now) == state.covered == len(table) and not table.dead
            if options is not None and now is not None and whole and options.built_as(now.options):
                # Only search options differ.
                about = {**now.about, "options": options.to_json()}
                served = dataclasses.replace(now, options=options, about=about)
            elif wanted.kind != "exact" and table.alive_count:
                served = self._built(table, wanted, advance)
            with self._writing:
                self._serve(served, wanted)
                self._why_exact = ""

    def _built(self, table: VectorTable, options: IndexOptions, advance: Advance | None) -> ServedIndex:
        alive = np.flatnonzero(table.alive)

        def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            positions = alive[start:stop]
            return table.rows[positions], table.gathered(positions)

        built = faiss_index.build(options, self.dimension, len(alive), int(table.rows[-1]), part, advance)
        about = index_file.write(built, self.folder, f"index-{uuid.uuid4().hex[:8]}.faiss")
        return dataclasses.replace(built, about=about)

    def _serve(self, served: ServedIndex | None, options: IndexOptions) -> None:
        """Name an index in the database, serve it, and drop the previous one."""
        self._store.facts.name_index(options, None if served is None else served.about)
        self.options = options
        state = State(self._state.table, served)
        if served is not None and options.kind == "ivf-pq":
            state = State(state.table.on_disk_to(state.covered), served)
        self._state = state
        index_file.remove_others(self.folder, served)
        if (options.kind != "ivf-pq" or served is None) and any(chunk is None for chunk in state.table.chunks):
            self._load()  # loads vectors that the previous index left on disk

    def _index_if_stale(self) -> None:
        """If it takes only seconds, rebuild an index that is not served or covers less than half of the entries."""
        entries, kind = self._state.table.alive_count, self.options.kind
        if kind == "exact" or not entries or (kind == "ivf-pq" and entries < LEAST_FOR_LISTS):
            return
        served, covered = self._state.served, self._state.covered
        if entries <= REBUILT_AT_ONCE and (served is None or 2 * covered < len(self._state.table)):
            try:
                self.build_index()
            except (ValueError, RuntimeError, OSError, MemoryError) as error:
                if served is None:
                    self._why_exact = str(error)
        if self._state.served is None:
            self._warn_exact()

    def _why(self) -> str:
        """Why a requested index is not used."""
        impossible = self.options.impossible(self.dimension, self._state.table.alive_count)
        return impossible or self._why_exact or "not built yet"

    def _warn_exact(self) -> None:
        warnings.warn(
            f"{self.folder}: the {self.options.kind} index is not used ({self._why()}); searches are exact and slower "
            "until it is built: `crossreid gallery index`.",
            stacklevel=3,
        )

    def compact(self, advance: Advance | None = None) -> None:
        with self._building:
            with self._writing:
                self._refuse_read_only()
                unfinished_folders.remove_unfinished(self.folder.absolute().parent)
                deleted = self._store.facts.deleted()
                self._store.database.vacuum()
                state = self._state
                stale = state.served is not None and len(state.served) != int(state.table.alive[: state.covered].sum())
                if stale and self.options.impossible(self.dimension, state.table.alive_count):
                    stale = False
                    self._serve(None, self.options)  # rather no index than one with traces of deleted entries
                    self._warn_exact()
                if self._state.table.dead:
                    self._load()
                index_file.remove_others(self.folder, self._state.served)
            if stale:
                self.build_index(advance=advance)
            with self._writing:
                self._store.facts.forget_deleted(deleted)
                self._store.database.checkpoint()

    def _snapshot(self, path: Path) -> None:
        with unfinished_folders.unfinished(path) as temporary:
            self._store.database.backup(temporary)
            with contextlib.closing(Store(temporary)) as copy:
                about = copy.facts.index_file()
                if about is not None:
                    try:
                        shutil.copyfile(self.folder / about["file"], temporary / about["file"])
                    except FileNotFoundError:  # another index has replaced it since
                        copy.facts.name_index(copy.facts.options, None)
            as_one_file(temporary)
            unfinished_folders.publish(temporary, path)

    def stats(self) -> Stats:
        state = self._state
        table = state.table
        cameras, modalities = counted(table.cameras[table.alive], table.modalities[table.alive])
        kind = self.options.kind
        told: str = kind
        if kind != "exact" and state.served is None:
            told = f"exact, as the {kind} index is not used: {self._why()}"
        uncovered = 0 if kind == "exact" else int(table.alive[state.covered :].sum())
        card = self.model_card()
        return Stats(
            self.backend, self.model, self.dimension, table.alive_count, told, uncovered, self._store.facts.deleted(),
            cameras, modalities, bytes_in(self.folder), card.trained, card.preprocessing, about(self.calibration()),
        )  # fmt: skip
