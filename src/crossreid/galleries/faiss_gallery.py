"""A gallery in process: entries in a SQLite database (`store`), vectors in memory compared by faiss (`table`, `indexes`).

    FOLDER/gallery.sqlite   every entry and vector, and which index file is served; -wal and -shm beside it while it is open
    FOLDER/index-*.faiss    an approximate index, made from the database and named in it with its size and SHA-256
    FOLDER/lock             who has it open for writing

Exact unless another index is asked for. Entries that an index does not cover yet are compared one by one, so that a
search always sees what was added; a filter that leaves few entries is answered exactly. With IVF-PQ the vectors that the
index covers stay on disk, and the candidates' are read from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crossreid.galleries import candidates, indexes, locking, store, table
from crossreid.galleries.candidates import Candidates
from crossreid.galleries.entries import Batch, Entry, Filter, Matches
from crossreid.galleries.errors import GalleryError, ModelMismatch, damaged
from crossreid.galleries.gallery import Advance, Gallery, Stats, bytes_in, counted
from crossreid.galleries.indexes import IndexOptions, ServedIndex
from crossreid.galleries.store import Store
from crossreid.galleries.table import View

REBUILT_AT_ONCE = 50_000  # entries of which an index is made again while opening, in seconds
_FEW, _SHARE = 10_000, 0.05  # entries, or share of them, that a filter may leave to be compared one by one
_REMEMBERED = 16  # filters of a state


@dataclass(frozen=True, eq=False, slots=True)
class _Chosen:
    """What a filter leaves of a state: the places `(N,)` bool or None for all, how many of all and of the covered ones."""

    allowed: np.ndarray | None
    count: int
    within: int
    members: np.ndarray | None  # of the index


@dataclass(frozen=True, eq=False, slots=True)
class _State:
    """What searches see: replaced as a whole, never changed but for the filters that it remembers."""

    view: View
    served: ServedIndex | None = None
    chosen: dict[Filter | None, _Chosen] = field(default_factory=dict)

    @property
    def covered(self) -> int:
        """Places that the index covers: those before it."""
        return 0 if self.served is None else int(np.searchsorted(self.view.rows, self.served.through, side="right"))

    def choose(self, filter: Filter | None, rows: np.ndarray | None) -> _Chosen:
        """What a filter leaves, of `rows` only where they are given."""
        allowed, covered = self.view.allowed(filter, rows), self.covered
        if allowed is None:
            return _Chosen(None, len(self.view), covered, None)
        within = int(allowed[:covered].sum())
        members = None
        if self.served is not None and not _few(within, covered, filter):
            members = self.served.members(self.view.rows[:covered][allowed[:covered]])
        return _Chosen(allowed, int(allowed.sum()), within, members)


def _few(within: int, covered: int, filter: Filter | None) -> bool:
    """Whether so few of the covered places are left that comparing them one by one is as quick as the index."""
    return within <= _SHARE * covered or (filter is not None and within <= _FEW)


class FaissGallery(Gallery):
    """A gallery of a folder. `open_gallery` opens and creates it.

    A read-only one takes no lock and sees the entries that there were when it was opened, less what is deleted since.
    Raises `GalleryError` for a folder without one, `ModelMismatch`, `GalleryLocked`.
    """

    backend = "faiss"

    def __init__(self, folder: Path, *, model: str | None = None, read_only: bool = False) -> None:
        table.use_matrix_products()
        self.folder = folder
        self.read_only = read_only
        self._lock: int | None = None
        self._writing = threading.RLock()
        self._building = threading.RLock()  # taken before _writing
        if not (folder / store.FILE).is_file():
            Store(folder)  # says so
        if not read_only:
            self._lock = locking.lock(folder / "lock")
        try:
            self._store = Store(folder, read_only=read_only)
            self.model, self.uuid, self.dimension = self._store.model, self._store.uuid, self._store.dimension
            self.options = self._store.options
            if model is not None and model != self.model:
                raise ModelMismatch(
                    f"{folder} holds embeddings of model {self.model}, and is to be opened for model {model}; they cannot be "
                    "compared. Open it with its model, or keep another gallery."
                )
            self._why_exact = ""
            self._load()
            if not read_only:
                self._drop_other_files()  # of a process that died, or damaged
                locking.remove_unfinished(folder.absolute().parent)
                self._index_if_stale()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path, model: str, dimension: int, options: IndexOptions) -> FaissGallery:
        """A new, empty gallery. Raises `GalleryError` where there is something already, `ValueError` for impossible options."""
        options.refuse(dimension)
        store.create(folder, model, dimension, options.to_json())
        return cls(folder)

    def _load(self) -> None:
        """Read everything from the database, and the index that it names if that is whole."""
        served, self._why_exact = self._named_index()
        columns = self._store.columns()
        # With IVF-PQ what the index covers stays on disk.
        small = served is not None and served.options.kind == "ivf-pq"
        covered = int(np.searchsorted(columns[:, 0], served.through, side="right")) if small and served else 0
        view = table.empty(self.dimension, self._from_disk)
        start = covered - covered % table.CHUNK
        if start:
            view = table.extended(view, *_columns(columns[:start]), None)
        for first in range(start, len(columns), table.CHUNK // 4):
            part = columns[first : first + table.CHUNK // 4]
            rows, vectors = self._store.vectors(int(part[0, 0]), int(part[-1, 0]))
            if self.read_only:  # another process may have deleted some in between
                kept = np.isin(part[:, 0], rows)
                part, vectors = part[kept], vectors[np.isin(rows, part[:, 0])]
            elif not np.array_equal(rows, part[:, 0]):
                raise damaged(self._store.path, "entries and vectors differ")
            view = table.extended(view, *_columns(part), vectors)
        self._state = _State(view, served)

    def _named_index(self) -> tuple[ServedIndex | None, str]:
        """The index that the database names, or why it is not served."""
        while True:
            about = self._store.index_file()
            if about is None:
                return None, ""
            if about["through"] > self._store.last_row():
                raise damaged(self._store.path, f"{about['file']} covers rows that were never there")
            try:
                return indexes.read(self.folder, about, self.dimension), ""
            except (ValueError, RuntimeError, OSError) as error:
                if self._store.index_file() == about:  # and another process has not put another in its place
                    return None, str(error)

    def _drop_other_files(self) -> None:
        """Delete all index files but the one that is served. Only while no other is being written."""
        served = self._state.served
        for path in (*self.folder.glob("index-*.faiss"), *self.folder.glob(".index-*.faiss.*")):
            if served is None or path.name != served.about["file"]:
                path.unlink(missing_ok=True)

    def _index_if_stale(self) -> None:
        """Build the index anew where that takes seconds and it is not served, or covers less than half of the entries."""
        entries, kind = self._state.view.entries, self.options.kind
        if kind == "exact" or not entries or (kind == "ivf-pq" and entries < indexes.LEAST_FOR_LISTS):
            return
        served, covered = self._state.served, self._state.covered
        if entries <= REBUILT_AT_ONCE and (served is None or 2 * covered < len(self._state.view)):
            try:
                self.build_index()
            except (ValueError, RuntimeError, OSError, MemoryError) as error:
                if served is None:
                    self._why_exact = str(error)
        if self._state.served is None:
            self._warn_exact()

    def _why(self) -> str:
        """Why an index that is asked for is not served."""
        impossible = self.options.impossible(self.dimension, self._state.view.entries)
        return impossible or self._why_exact or "not built yet"

    def _warn_exact(self) -> None:
        warnings.warn(
            f"{self.folder}: the {self.options.kind} index is not served ({self._why()}); searches are exact and slower "
            "until it is built: `crossreid gallery index`.",
            stacklevel=3,
        )

    def _from_disk(self, rows: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), self.dimension), np.float32)
        if len(rows) > 1024 and rows[-1] - rows[0] < 2 * len(rows):
            there, vectors = self._store.vectors(int(rows[0]), int(rows[-1]))
            at = np.searchsorted(rows, there).clip(max=len(rows) - 1)
            wanted = rows[at] == there
            found[at[wanted]] = vectors[wanted]
            return found
        known = self._store.vectors_of(rows.tolist())
        for place, row in enumerate(rows.tolist()):
            if row in known:
                found[place] = known[row]
        return found

    def _write(self, batch: Batch, *, replace: bool) -> None:
        with self._writing:
            rows, replaced = self._store.insert(batch, replace=replace)
            try:
                view = self._without(self._state.view, replaced) if replaced else self._state.view
                columns = (batch.cameras, batch.modalities, batch.times, batch.added)
                self._state = _State(table.extended(view, rows, columns, batch.embeddings), self._state.served)
            except BaseException:
                self._load_again()
                raise

    def _delete(self, ids: list[str] | None, filter: Filter | None) -> int:
        with self._writing:
            if ids is not None:
                rows = list(self._store.rows_of(ids).values())
            elif filter is not None and _of_texts(filter):
                rows = self._store.rows_where(filter)
            else:  # the database would have to read every entry
                view = self._state.view
                rows = view.rows[view.allowed(filter or Filter(), None)].tolist()
            self._store.delete(rows)
            try:
                self._mark_gone(rows)
            except BaseException:
                self._load_again()
                raise
        return len(rows)

    def _mark_gone(self, rows: Sequence[int]) -> None:
        if rows:
            self._state = _State(self._without(self._state.view, rows), self._state.served)

    def _load_again(self) -> None:
        """After a fault or an interruption: what is kept is to be seen. A fault of its own does not hide that one."""
        with contextlib.suppress(GalleryError):
            self._load()

    @staticmethod
    def _without(view: View, rows: Sequence[int]) -> View:
        places = view.places(np.array(sorted(rows), np.int64))
        return view.without(places[places >= 0])

    def _get(self, ids: list[str]) -> list[Entry | None]:
        rows = self._store.rows_of(ids)
        found = self._store.entries_of(list(rows.values()), embeddings=True)
        return [found.get(rows.get(name, -1)) for name in ids]

    def _known(self, ids: list[str]) -> set[str]:
        return set(self._store.rows_of(ids))

    def batches(self, size: int = 4096) -> Iterator[Batch]:
        return self._store.batches(size)

    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        view = self._state.view
        alive = np.flatnonzero(view.alive)
        places = np.sort(np.random.default_rng(seed).choice(alive, min(count, len(alive)), replace=False))
        return list(self._store.entries_of(view.rows[places].tolist(), embeddings=True).values())

    def __len__(self) -> int:
        return self._state.view.entries

    def _search(self, queries: np.ndarray, k: int, filter: Filter | None, exact: bool) -> list[Matches]:
        while True:
            state = self._state
            chosen = self._chosen(state, filter)
            if chosen is None:
                continue
            try:
                found = self._candidates(state, chosen, queries, k, exact)
            except candidates.Gone as gone:
                with self._writing:
                    self._mark_gone(gone.rows.tolist())
                continue
            matches = self._told(state.view, found, k)
            if matches is not None:
                return matches

    def _chosen(self, state: _State, filter: Filter | None) -> _Chosen | None:
        """What a filter leaves of a state; None where the database has gone on, and a newer state is to be asked."""
        known = state.chosen.get(filter)
        if known is not None:
            return known
        rows = None
        if filter is not None and _of_texts(filter):
            rows = np.array(self._store.rows_where(filter), np.int64)
            if len(rows) and not self.read_only and rows[-1] > (state.view.rows[-1] if len(state.view) else 0):
                with self._writing:  # what was written becomes a state
                    return None
        if len(state.chosen) >= _REMEMBERED:
            state.chosen.clear()
        return state.chosen.setdefault(filter, state.choose(filter, rows))

    @staticmethod
    def _candidates(state: _State, chosen: _Chosen, queries: np.ndarray, k: int, exact: bool) -> list[Candidates]:
        view, served, covered, allowed = state.view, state.served, state.covered, chosen.allowed
        k = min(k, chosen.count)
        if not k:
            return [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
        if exact or served is None or (allowed is not None and chosen.members is None) or not chosen.within:
            return candidates.exact(view, queries, k, allowed)
        share = chosen.within / covered
        found = candidates.approximate(view, served, covered, queries, k, allowed, chosen.members, share)
        for at in [at for at, (places, _) in enumerate(found) if len(places) < k]:
            found[at] = candidates.exact(view, queries[at : at + 1], k, allowed)[0]  # the index found too few
        return found

    def _told(self, view: View, chosen: list[Candidates], k: int) -> list[Matches] | None:
        """Candidates as matches; None where one was deleted meanwhile, and all is to be searched again."""
        wanted = [view.rows[places] for places, _ in chosen]
        every = np.unique(np.concatenate(wanted)).tolist()
        entries = self._store.entries_of(every)
        if len(entries) < len(every):
            with self._writing:
                self._mark_gone([row for row in every if row not in entries])
            return None
        matches = []
        for rows, (_, scores) in zip(wanted, chosen, strict=True):
            found = [entries[row] for row in rows.tolist()]
            order = sorted(range(len(found)), key=lambda at: (-scores[at], found[at].id))[:k]
            best = tuple(found[at] for at in order)
            matches.append(Matches(tuple(entry.id for entry in best), scores[order], best))
        return matches

    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        with self._building:
            with self._writing:
                self._refuse_read_only()
                state = self._state
            view, now, wanted = state.view, state.served, options or self.options
            wanted.refuse(self.dimension)
            served = None
            whole = now is not None and len(now) == state.covered == len(view) and not view.dead
            if options is not None and now is not None and whole and options.built_as(now.options):
                # Only how it is searched is another.
                about = {**now.about, "options": options.to_json()}
                served = dataclasses.replace(now, options=options, about=about)
            elif wanted.kind != "exact" and view.entries:
                served = self._built(view, wanted, advance)
            with self._writing:
                self._serve(served, wanted)
                self._why_exact = ""

    def _built(self, view: View, options: IndexOptions, advance: Advance | None) -> ServedIndex:
        alive = np.flatnonzero(view.alive)

        def part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            places = alive[start:stop]
            return view.rows[places], view.gathered(places)

        built = indexes.build(options, self.dimension, len(alive), int(view.rows[-1]), part, advance)
        about = indexes.write(built, self.folder, f"index-{uuid.uuid4().hex[:8]}.faiss")
        return dataclasses.replace(built, about=about)

    def _serve(self, served: ServedIndex | None, options: IndexOptions) -> None:
        """Name an index in the database, serve it, and drop the one before."""
        self._store.name_index(options.to_json(), None if served is None else served.about)
        self.options = options
        view = self._state.view
        if served is not None and options.kind == "ivf-pq":
            view = view.on_disk_to(_State(view, served).covered)
        self._state = _State(view, served)
        self._drop_other_files()
        if options.kind != "ivf-pq" or served is None:
            self._bring_back()

    def _bring_back(self) -> None:
        """Read vectors into memory that an index left on disk, which is served no more."""
        if any(chunk is None for chunk in self._state.view.chunks):
            self._load()

    def compact(self, advance: Advance | None = None) -> None:
        with self._building:
            with self._writing:
                self._refuse_read_only()
                locking.remove_unfinished(self.folder.absolute().parent)
                deleted = self._store.deleted()
                self._store.vacuum()
                state = self._state
                stale = state.served is not None and len(state.served) != int(state.view.alive[: state.covered].sum())
                if stale and self.options.impossible(self.dimension, state.view.entries):
                    stale = False
                    self._serve(None, self.options)  # rather none than what is left of the deleted in it
                    self._warn_exact()
                if self._state.view.dead:
                    self._load()
                self._drop_other_files()
            if stale:
                self.build_index(advance=advance)
            with self._writing:
                self._store.forget_deleted(deleted)
                self._store.checkpoint()

    def _snapshot(self, path: Path) -> None:
        with locking.unfinished(path) as temporary:
            self._store.backup(temporary / store.FILE)
            with contextlib.closing(Store(temporary)) as copy:
                about = copy.index_file()
                if about is not None:
                    try:
                        shutil.copyfile(self.folder / about["file"], temporary / about["file"])
                    except FileNotFoundError:  # another index has taken its place since
                        copy.name_index(copy.options.to_json(), None)
            store.as_one_file(temporary / store.FILE)
            store.publish(temporary, path)

    def stats(self) -> Stats:
        state = self._state
        view = state.view
        cameras, modalities = counted(view.cameras[view.alive], view.modalities[view.alive])
        kind = self.options.kind
        told: str = kind
        if kind != "exact" and state.served is None:
            told = f"exact, as the {kind} index is not served: {self._why()}"
        uncovered = 0 if kind == "exact" else int(view.alive[state.covered :].sum())
        return Stats(
            self.backend, self.model, self.dimension, view.entries, told, uncovered, self._store.deleted(),
            cameras, modalities, bytes_in(self.folder),
        )  # fmt: skip

    def close(self) -> None:
        with self._building, self._writing:
            if hasattr(self, "_store"):
                self._store.close()
            if self._lock is not None:
                locking.unlock(self._lock)
                self._lock = None

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise GalleryError(f"{self.folder} is open read-only; open it for writing.")


def _of_texts(filter: Filter) -> bool:
    """Whether only the database knows what meets it."""
    return filter.identity is not None or filter.source is not None or bool(filter.source_prefix)


def _columns(columns: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    rows, cameras, modalities = columns[:, :3].astype(np.int64).T
    return rows, (cameras, modalities, columns[:, 3], columns[:, 4])
