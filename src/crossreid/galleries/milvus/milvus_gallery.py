"""A gallery in Milvus, through pymilvus: a Milvus Lite file (.db) in process, or a cluster by its address.

It uses two collections: NAME_about holds one row that describes the gallery (`about`) and names the collection of
entries (`collection`).

Left to Milvus, as stated in docs/search.md: the durability of writes, atomicity across messages, and when a cluster
really deletes. Milvus Lite has no IVF-PQ and no compaction; `compact` rewrites its collection.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.evaluation.calibration import about
from crossreid.galleries import unfinished_folders
from crossreid.galleries.entries import Entries, Entry, Matches
from crossreid.galleries.errors import GalleryError, another_model, existing, opened_read_only
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import NOTES, Advance, Gallery, Stats, bytes_in, counted
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.local.database import as_one_file
from crossreid.galleries.local.faiss_gallery import FaissGallery
from crossreid.galleries.location import Consistency, check_presence, is_lite
from crossreid.galleries.milvus import connection, searching
from crossreid.galleries.milvus.about import About, Description
from crossreid.galleries.milvus.collection import MOST, Collection
from crossreid.galleries.milvus.connection import Connection
from crossreid.galleries.milvus.fields import FIELDS, entry_of, expression, key_of

_LEARN = 5.0  # seconds after which an index built by another process is noticed
_FEW = 10_000  # entries up to which those left by a filter are compared one by one, in Milvus Lite


class MilvusGallery(Gallery):
    """A gallery at a path ending in .db, or at the address of a cluster. `open_gallery` opens and creates it.

    Raises `GalleryError` if pymilvus is not installed, Milvus refuses, or there is no gallery; `ModelMismatch`;
    `GalleryLocked` if another process has the file.
    """

    backend = "milvus"

    def __init__(
        self,
        location: str,
        *,
        model: str | None,
        dimension: int | None,
        options: IndexOptions,
        create: bool | None,
        token: str | None,
        collection: str,
        read_only: bool,
        restoring: bool = False,
        consistency: Consistency = "strong",
    ) -> None:
        if not (collection.isascii() and collection.isidentifier()) or len(collection) > 200:
            raise GalleryError(f"collection {collection!r}: expected letters, digits and _, at most 200.")
        self.location, self.name, self.read_only = location, collection, read_only
        self.lite = is_lite(location)
        self._lock = threading.RLock()
        connection.require_pymilvus(location)
        if self.lite and not connection.lite_is_there(Path(location)):
            check_presence(location, False, create, model, dimension)
            _refuse_impossible(self.lite, int(dimension or 0), options)
            connection.refuse_foreign(Path(location))
        self._connection = Connection(location, token)
        try:
            self._about = About(self._connection, collection)
            description = self._described(restoring)
            check_presence(location, description is not None, create, model, dimension)
            if description is None:
                with contextlib.nullcontext() if self.lite else self._about.only_one():
                    description = self._described(
                        restoring
                    )  # another process that found none may have created it meanwhile
                    check_presence(location, description is not None, create, model, dimension)
                    description = description or self._created(str(model), int(dimension or 0), options, restoring)
            self.model, self.uuid, self.dimension = description.model, description.uuid, description.dimension
            self.options, self._asked = description.options, time.monotonic()
            self._entries = Collection(self._connection, description.entries, self.dimension, consistency)
            if model is not None and model != self.model:
                raise another_model(location, self.model, model)
            if self.lite and not read_only:
                self._drop_leftovers()
            self._mend_index()
            self._entries.load()
            if self.lite and not read_only:
                unfinished_folders.remove_unfinished(Path(location).absolute().parent)
        except BaseException:
            self.close()
            raise

    def _described(self, restoring: bool) -> Description | None:
        """The existing description. Raises `GalleryError` for an incomplete gallery, unless `restoring`."""
        description = self._about.description()
        if description is None or not description.restoring:
            return description
        if not restoring:
            raise GalleryError(
                f"{self.location} holds part of a gallery: restoring a snapshot to it has not finished. If nobody is doing that, "
                "restore the snapshot again."
            )
        return None

    def _created(self, model: str, dimension: int, options: IndexOptions, restoring: bool) -> Description:
        _refuse_impossible(self.lite, dimension, options)
        entries = Collection(self._connection, f"{self.name}_entries_1", dimension)
        entries.create(options)
        description = Description(model, dimension, options, entries.name, uuid.uuid4().hex, restoring)
        self._about.write_new(description)
        return description

    def restored(self) -> None:
        """Record that the gallery opened as `restoring` is complete."""
        with self._lock:
            self._about.restored()

    def _notes(self) -> Mapping[str, str]:
        with self._lock:
            found = {**(self._about.read() or {}), "calibration": self._about.calibration()}
        return {name: str(found[name]) for name in NOTES if found.get(name) is not None}

    def _note(self, values: Mapping[str, str | None]) -> None:
        self._writable()
        values = dict(values)
        with self._lock:
            if "calibration" in values:
                self._about.write_calibration(values.pop("calibration"))
            if values:
                self._about.change(**values)

    def _drop_leftovers(self) -> None:
        """Drop collections of entries left by processes that died while rewriting them."""
        client = self._connection.client
        with self._connection.faults():
            for name in client.list_collections():
                if re.fullmatch(rf"{self.name}_entries_\d+", name) and name != self._entries.name:
                    client.drop_collection(name)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        """Keep others out while Milvus Lite's collection is briefly gone: its index changes, or it is rewritten."""
        return self._lock if self.lite else contextlib.nullcontext()

    def _writable(self) -> None:
        if self.read_only:
            raise opened_read_only(self.location)

    # Writing, and reading by id.

    def _write(self, entries: Entries, *, replace: bool) -> None:
        with self._lock:
            self._writable()
            keys = [key_of(text) for text in entries.ids]
            if not replace:
                there = self._entries.by_keys(keys, ["id"])
                if there:
                    raise existing([text for text, key in zip(entries.ids, keys, strict=True) if key in there])
            step = self._entries.at_once
            for start in range(0, len(entries), step):
                try:
                    self._entries.insert(entries.rows(slice(start, start + step)), replace=replace)
                except GalleryError:
                    if not replace:
                        self._entries.remove(keys[: start + step])  # rather nothing than a part
                    raise

    def _delete(self, ids: list[str] | None, filter: Filter | None) -> int:
        with self._lock:
            self._writable()
            if ids is not None:
                keys = list(self._entries.by_keys([key_of(text) for text in ids], []))
            else:
                keys = [row["key"] for row in self._entries.rows(expression(filter), ["key"])]
            self._entries.remove(keys)
        return len(keys)

    def _get(self, ids: list[str]) -> list[Entry | None]:
        keys = [key_of(text) for text in ids]
        with self._alone():
            found = self._entries.by_keys(keys, FIELDS)
        return [entry_of(found[key]) if key in found else None for key in keys]

    def _known(self, ids: list[str]) -> set[str]:
        keys = {key_of(text): text for text in ids}
        with self._alone():
            return {keys[key] for key in self._entries.by_keys(list(keys), [])}

    def batches(self, size: int = 4096) -> Iterator[Entries]:
        if self.lite:
            yield from self._batches_of_keys(size)
            return
        for part in self._entries.parts("", FIELDS, min(size, MOST)):
            yield Entries.kept(map(entry_of, part))

    def _batches_of_keys(self, size: int) -> Iterator[Entries]:
        """Look up each batch separately, so that a slow consumer does not keep others from writing."""
        keys = self._keys()
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            with self._alone():
                found = self._entries.by_keys(part, FIELDS)
            if found:
                yield Entries.kept(entry_of(found[key]) for key in part if key in found)

    def _keys(self) -> list[str]:
        with self._alone():
            return self._entries.keys()

    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        with self._alone():
            keys = self._keys()
            rows = np.sort(np.random.default_rng(seed).choice(len(keys), min(count, len(keys)), replace=False))
            found = self._entries.by_keys([keys[row] for row in rows], FIELDS)
        return [entry_of(found[key]) for key in sorted(found)]

    def __len__(self) -> int:
        with self._alone():
            return self._entries.count()

    def stats(self) -> Stats:
        cameras = modalities = size = None
        with self._alone():
            if self.lite:
                rows = self._entries.rows("", ["camera", "modality"])
                columns = np.array([[row["camera"], row["modality"]] for row in rows], np.int64).reshape(-1, 2)
                cameras, modalities = counted(columns[:, 0], columns[:, 1])
                size = bytes_in(Path(self.location))
            card = self.model_card()
            return Stats(
                self.backend, self.model, self.dimension, len(self), self.options.kind, 0, None, cameras, modalities, size,
                card.trained, card.preprocessing, about(self.calibration()),
            )  # fmt: skip

    # Searching.

    def _search(self, queries: np.ndarray, k: int, filter: Filter | None, exact: bool) -> list[Matches]:
        with self._alone():
            self._learn_index()
            if self.options.kind != "exact" and (exact or self._leaves_few(filter)):
                return searching.scanned(self._entries, queries, k, filter)
            return searching.nearest(self._entries, self.options, queries, k, filter)

    def _learn_index(self) -> None:
        """Look up the current index: in a cluster, another process may have built a different one."""
        if self.lite or time.monotonic() - self._asked < _LEARN:
            return
        self._asked = time.monotonic()
        with contextlib.suppress(GalleryError):  # the search itself will report the error
            self.options = self._about.index() or self.options

    def _leaves_few(self, filter: Filter | None) -> bool:
        """Whether to compare one by one what a filter leaves. In a cluster, Milvus decides that."""
        return self.lite and filter is not None and self._entries.count(expression(filter)) <= _FEW

    # The index, compaction and copies.

    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        """As in `Gallery`; Milvus reports no progress. In a cluster, searches are refused until it is built."""
        options = options or self.options
        with self._lock:
            self._writable()
            _refuse_impossible(self.lite, self.dimension, options)
            # An approximate index must never be reported as exact; the reverse does no harm.
            before = self.options
            if options.kind != "exact":
                self._name_index(options)
            try:
                self._entries.replace_index(options)
            except GalleryError:
                with contextlib.suppress(GalleryError):
                    self._back_to(before)
                raise
            if options.kind == "exact":
                self._name_index(options)

    def _back_to(self, before: IndexOptions) -> None:
        """Restore the previous index if the new one cannot be built."""
        if not self._entries.has_index():
            self._entries.create_index(before)
            self._name_index(before)
        self._entries.load()

    def _name_index(self, options: IndexOptions) -> None:
        self._about.change(index=options.to_json())
        self.options = options

    def _mend_index(self) -> None:
        """Repair the index, and what is recorded about it, after a process died while changing it."""
        if self._entries.has_index():
            kind = self._entries.index_kind() or self.options.kind
            if kind != self.options.kind:
                self.options = replace(self.options, kind=kind)  # type: ignore[arg-type]
        elif not self.read_only:
            self._entries.create_index(self.options)
        elif self.lite:
            self.options = replace(self.options, kind="exact")  # without an index, it compares with every entry
        else:
            raise GalleryError(f"{self.location} has lost its index; build it: `crossreid gallery index`.")

    def compact(self, advance: Advance | None = None) -> None:
        """As in `Gallery` for Milvus Lite; a cluster is asked to compact, and deletes as its retention allows."""
        with self._lock:
            self._writable()
            if not self.lite:
                self._entries.flush()
                self._entries.compact()
                return
            unfinished_folders.remove_unfinished(Path(self.location).absolute().parent)
            before, total = self._entries, len(self)
            number = int(before.name.rpartition("_")[2]) + 1
            anew = Collection(self._connection, f"{self.name}_entries_{number}", self.dimension)
            anew.create(self.options)
            for part in self.batches(min(anew.at_once, 4096)):
                anew.insert(part)
                if advance is not None:
                    advance(len(part), total)
            anew.flush()
            anew.load()
            self._about.change(entries=anew.name)
            self._entries = anew
            before.drop()

    def _snapshot(self, path: Path) -> None:
        """As in `Gallery`: the copy is a gallery in process, consistent with respect to writes through this object."""
        with unfinished_folders.unfinished(path) as outer:
            folder = outer / "gallery"
            with self._lock, FaissGallery.create(folder, self.model, self.dimension, IndexOptions()) as copy:
                for part in self.batches():
                    copy.add(part)
                copy.note_as(self)
            as_one_file(folder)
            unfinished_folders.publish(folder, path)


def _refuse_impossible(lite: bool, dimension: int, options: IndexOptions) -> None:
    """Raise `GalleryError` for embeddings that Milvus cannot store, `CrossreidError` for an index it cannot build."""
    if not 2 <= dimension <= 32768:
        raise GalleryError(f"Milvus stores embeddings of 2 to 32768 dimensions, not {dimension}.")
    if lite and options.kind == "ivf-pq":
        raise GalleryError("Milvus Lite has no IVF-PQ; use exact or hnsw here, and IVF-PQ in a cluster or in process.")
    options.refuse(dimension)
