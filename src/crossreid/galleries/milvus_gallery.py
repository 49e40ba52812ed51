"""A gallery in Milvus, through pymilvus: a Milvus Lite file (.db) in process, or a cluster by its address.

Two collections: NAME_about holds one row, which says of which model the gallery is and which collection holds its entries;
it is written last, so that a gallery that was created or rewritten halfway is not seen, and says of one that is being
restored that it is not whole. The key of an entry is a digest of
its id: pymilvus writes keys into expressions without escaping them, and ids are any text.

Left to Milvus, and told in docs/search.md: how durable a write is, atomicity across messages, when a cluster really
deletes. Milvus Lite knows no IVF-PQ and no compaction; `compact` writes its collection anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.galleries import locking, milvus_fields, store
from crossreid.galleries.entries import Batch, Entry, Filter, Matches, stacked
from crossreid.galleries.errors import GalleryError, GalleryFault, ModelMismatch, another_format, damaged, existing
from crossreid.galleries.gallery import Advance, Gallery, Stats, bytes_in, counted
from crossreid.galleries.indexes import IndexOptions
from crossreid.galleries.milvus_fields import FIELDS, best, entry_of, expression, key_of, rows_of
from crossreid.galleries.opening import is_lite, refuse_unless
from crossreid.galleries.table import rounding, scores_of

MOST = 16_384  # entries that Milvus returns at once
_SPARE = 8
_MESSAGE = 8 << 20  # bytes
_FORMAT = 2
_FEW = 10_000  # entries that a filter may leave to be compared one by one, in Milvus Lite
_KINDS = {"FLAT": "exact", "HNSW": "hnsw", "IVF_PQ": "ivf-pq"}
_LOCK = "crossreid.lock"


class MilvusGallery(Gallery):
    """A gallery at a path ending in .db, or at the address of a cluster. `open_gallery` opens and creates it.

    Raises `GalleryError` where pymilvus is not installed, Milvus refuses, or there is no gallery; `ModelMismatch`;
    `GalleryLocked` where another process has the file.
    """

    backend = "milvus"

    def __init__(
        self,
        where: str,
        *,
        model: str | None,
        dimension: int | None,
        options: IndexOptions,
        create: bool | None,
        token: str | None,
        collection: str,
        read_only: bool,
        restoring: bool = False,
    ) -> None:
        if not (collection.isascii() and collection.isidentifier()) or len(collection) > 200:
            raise GalleryError(f"collection {collection!r}: expected letters, digits and _, at most 200.")
        self.where, self.name, self.read_only = where, collection, read_only
        self.lite = is_lite(where)
        self._lock = threading.RLock()
        self._file: int | None = None
        self._client: Any = None
        try:
            self._client = self._connected(token, model, dimension, options, create)
            about = self._about()
            if about is not None and about.get("format") != _FORMAT:
                raise another_format(where, about.get("format"), _FORMAT)
            if about is not None and "restoring" in about:
                if not restoring:
                    raise GalleryError(
                        f"{where} holds a part of a gallery: restoring a snapshot to it has not ended. Where nobody is at it, restore "
                        "the snapshot again."
                    )
                about = None
            refuse_unless(where, about is not None, create, model, dimension)
            if about is None:
                about = self._created(str(model), int(dimension or 0), options, restoring)
            self._read_about(about)
            if model is not None and model != self.model:
                raise ModelMismatch(
                    f"{where} holds embeddings of model {self.model}, and is to be opened for model {model}; they cannot be "
                    "compared. Open it with its model, or keep another gallery."
                )
            with self._told():
                if self.lite and not read_only:
                    self._drop_leftovers()
                self._mend_index()
                self._client.load_collection(self._entries)
            if self.lite and not read_only:
                locking.remove_unfinished(Path(where).absolute().parent)
        except BaseException:
            self.close()
            raise

    def _read_about(self, about: dict[str, Any]) -> None:
        try:
            self.model, self.dimension = str(about["model"]), int(about["dimension"])
            self.options = IndexOptions.from_json(about["index"])
            self._entries, self.uuid = str(about["entries"]), str(about.get("gallery", f"{self.where} {self.name}"))
        except KeyError as error:
            raise damaged(f"{self.where}, collection {self.name},", f"it does not say its {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            raise damaged(f"{self.where}, collection {self.name},", error) from error

    def _mend_index(self) -> None:
        """After a process that died while it changed the index: what answers searches is said, and is there."""
        if self._client.list_indexes(self._entries, field_name="embedding"):
            found = self._client.describe_index(self._entries, "embedding") or {}
            kind = _KINDS.get(found.get("index_type", ""), self.options.kind)
            if kind != self.options.kind:
                self.options = replace(self.options, kind=kind)  # type: ignore[arg-type]
        elif not self.read_only:
            self._create_index(self.options)
        elif self.lite:
            self.options = replace(self.options, kind="exact")  # it compares with every entry then
        else:
            raise GalleryError(f"{self.where} has lost its index; build it: `crossreid gallery index`.")

    def _connected(
        self, token: str | None, model: str | None, dimension: int | None, options: IndexOptions, create: bool | None
    ) -> Any:
        try:
            from pymilvus import MilvusClient

            if self.lite:
                import milvus_lite  # noqa: F401
        except ImportError as error:
            raise GalleryError(f"a Milvus gallery needs pymilvus ({error}): pip install crossreid[milvus].") from error
        for name in ("pymilvus", "milvus_lite"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log is raised as well
        if self.lite:
            folder = Path(self.where)
            if folder.is_file():
                raise GalleryError(
                    f"{folder} is a file; expected a folder of Milvus Lite 3, which older versions cannot read."
                )
            if not (folder / _LOCK).is_file() and not (folder / "LOCK").is_file():  # nor is it Milvus Lite's own
                refuse_unless(self.where, False, create, model, dimension)
                self._refuse_impossible(int(dimension or 0), options)
                if folder.is_dir() and any(folder.iterdir()):
                    raise GalleryError(f"{folder} is there already and is not Milvus Lite's; give a path that is free.")
            folder.mkdir(parents=True, exist_ok=True)
            self._file = locking.lock(
                folder / _LOCK, "Milvus Lite is open in one process at a time, for searching too; close it there."
            )
        with self._told():
            return MilvusClient(self.where, token=token or "")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Faults of Milvus in our words."""
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise GalleryFault(f"Milvus at {self.where}: {error.message or error}") from error

    def _about(self) -> dict[str, Any] | None:
        with self._told():
            if not self._client.has_collection(f"{self.name}_about"):
                return None
            self._client.load_collection(f"{self.name}_about")
            found = self._client.query(f"{self.name}_about", filter='key == "about"', output_fields=["text"])
        if not found:
            return None
        try:
            return dict(json.loads(found[0]["text"]))
        except (TypeError, ValueError) as error:
            raise damaged(f"{self.where}, collection {self.name},", error) from error

    def _refuse_impossible(self, dimension: int, options: IndexOptions) -> None:
        if not 2 <= dimension <= 32768:
            raise GalleryError(f"Milvus keeps embeddings of 2 to 32768 dimensions, not of {dimension}.")
        if self.lite and options.kind == "ivf-pq":
            raise GalleryError(
                "Milvus Lite has no IVF-PQ; use exact or hnsw here, and IVF-PQ in a cluster or in process."
            )
        options.refuse(dimension)

    def _created(self, model: str, dimension: int, options: IndexOptions, restoring: bool) -> dict[str, Any]:
        self._refuse_impossible(dimension, options)
        self.dimension, self.options = dimension, options
        entries = f"{self.name}_entries_1"
        with self._told():
            if self._client.has_collection(entries):
                self._client.drop_collection(entries)  # of a process that died before it wrote the row
            milvus_fields.create_entries(self._client, entries, dimension, options)
            if not self._client.has_collection(f"{self.name}_about"):
                milvus_fields.create_about(self._client, f"{self.name}_about")
        about = {
            "format": _FORMAT, "gallery": uuid.uuid4().hex, "model": model, "dimension": dimension,
            "index": options.to_json(), "entries": entries,
        }  # fmt: skip
        return self._tell({**about, "restoring": True} if restoring else about)

    def restored(self) -> None:
        """Say that what was opened as `restoring` is whole."""
        with self._lock:
            self._tell({name: value for name, value in (self._about() or {}).items() if name != "restoring"})

    def _tell(self, about: dict[str, Any]) -> dict[str, Any]:
        with self._told():
            row = {"key": "about", "text": json.dumps(about), "unused": [0.0, 1.0]}
            self._client.upsert(f"{self.name}_about", [row])
        return about

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        """Milvus Lite's collection is taken away for a moment while its index is changed or it is written anew."""
        return self._lock if self.lite else contextlib.nullcontext()

    def _drop_leftovers(self) -> None:
        for name in self._client.list_collections():
            if re.fullmatch(rf"{self.name}_entries_\d+", name) and name != self._entries:
                self._client.drop_collection(name)

    def _writable(self) -> None:
        if self.read_only:
            raise GalleryError(f"{self.where} is open read-only; open it for writing.")

    def _query(self, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """All rows that meet a condition, however many."""
        found: list[dict[str, Any]] = []
        for part in self._parts(condition, fields, MOST // 2):
            found += part
        return found

    def _parts(self, condition: str, fields: Sequence[str], size: int) -> Iterator[list[dict[str, Any]]]:
        with self._told():
            rows = self._client.query_iterator(
                self._entries, batch_size=size, filter=condition, output_fields=list(fields)
            )
            try:
                while part := rows.next():
                    yield part
            finally:
                rows.close()

    def _by_keys(self, keys: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), 1000):
            with self._told():
                condition = f"key in {json.dumps(keys[start : start + 1000])}"
                part = self._client.query(self._entries, filter=condition, output_fields=["key", *fields])
            found.update({row["key"]: row for row in part})
        return found

    def _write(self, batch: Batch, *, replace: bool) -> None:
        with self._lock:
            self._writable()
            keys = [key_of(text) for text in batch.ids]
            if not replace:
                there = self._by_keys(keys, ["id"])
                if there:
                    raise existing([text for text, key in zip(batch.ids, keys, strict=True) if key in there])
            step = max(1, _MESSAGE // (4 * self.dimension + 2048))
            for start in range(0, len(batch), step):
                rows = rows_of(batch.rows(slice(start, start + step)))
                try:
                    with self._told():
                        (self._client.upsert if replace else self._client.insert)(self._entries, rows)
                except GalleryError:
                    if not replace:
                        self._remove(keys[: start + step])  # none of it rather than a part
                    raise

    def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), 1000):
            with self._told():
                self._client.delete(self._entries, filter=f"key in {json.dumps(keys[start : start + 1000])}")

    def _delete(self, ids: list[str] | None, filter: Filter | None) -> int:
        with self._lock:
            self._writable()
            if ids is not None:
                keys = list(self._by_keys([key_of(text) for text in ids], []))
            else:
                keys = [row["key"] for row in self._query(expression(filter), ["key"])]
            self._remove(keys)
        return len(keys)

    def _get(self, ids: list[str]) -> list[Entry | None]:
        keys = [key_of(text) for text in ids]
        with self._alone():
            found = self._by_keys(keys, FIELDS)
        return [entry_of(found[key]) if key in found else None for key in keys]

    def _known(self, ids: list[str]) -> set[str]:
        keys = {key_of(text): text for text in ids}
        with self._alone():
            return {keys[key] for key in self._by_keys(list(keys), [])}

    def batches(self, size: int = 4096) -> Iterator[Batch]:
        if self.lite:
            yield from self._batches_of_keys(size)
            return
        for part in self._parts("", FIELDS, min(size, MOST)):
            yield Batch.kept(map(entry_of, part))

    def _batches_of_keys(self, size: int) -> Iterator[Batch]:
        """Looked up one by one: whoever asks for the next batch does not keep others from writing until then."""
        keys = self._keys()
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            with self._alone():
                found = self._by_keys(part, FIELDS)
            if found:
                yield Batch.kept(entry_of(found[key]) for key in part if key in found)

    def _keys(self) -> list[str]:
        with self._alone():
            return sorted(row["key"] for row in self._query("", ["key"]))

    def sample(self, count: int, seed: int = 0) -> list[Entry]:
        with self._alone():
            keys = self._keys()
            rows = np.sort(np.random.default_rng(seed).choice(len(keys), min(count, len(keys)), replace=False))
            found = self._by_keys([keys[row] for row in rows], FIELDS)
        return [entry_of(found[key]) for key in sorted(found)]

    def __len__(self) -> int:
        with self._alone():
            return self._count("")

    def _count(self, condition: str) -> int:
        with self._told():
            return int(self._client.query(self._entries, filter=condition, output_fields=["count(*)"])[0]["count(*)"])

    def _search(self, queries: np.ndarray, k: int, filter: Filter | None, exact: bool) -> list[Matches]:
        with self._alone():
            if self.options.kind != "exact" and (exact or self._leaves_few(filter)):
                return self._scanned(queries, k, filter)
            if k > MOST - _SPARE:
                raise GalleryError(f"Milvus returns at most {MOST - _SPARE} matches, not {k}.")
            found: list[Matches] = []
            for start in range(0, len(queries), 64):
                found += self._nearest(queries[start : start + 64], k, filter)
            return found

    def _leaves_few(self, filter: Filter | None) -> bool:
        """Whether to compare one by one what a filter leaves. In a cluster Milvus decides that by itself."""
        return self.lite and filter is not None and self._count(expression(filter)) <= _FEW

    def _nearest(self, queries: np.ndarray, k: int, filter: Filter | None) -> list[Matches]:
        limit = k + _SPARE
        while True:
            breadth = {"hnsw": {"ef": max(self.options.ef_search, limit)}, "ivf-pq": {"nprobe": self.options.nprobe}}
            fetched = limit if self.options.kind != "ivf-pq" else min(MOST, max(limit, self.options.refine))
            with self._told():
                hits = self._client.search(
                    self._entries, data=list(queries), limit=fetched, filter=expression(filter), anns_field="embedding",
                    output_fields=list(FIELDS),
                    search_params={"metric_type": "IP", "params": breadth.get(self.options.kind, {})},
                )  # fmt: skip
            matches, again = [], False
            for query, own in zip(queries, hits, strict=True):
                matches.append(best(query, [entry_of(hit["entity"]) for hit in own], k))
                # Whoever was not fetched is at most as near as the last that was, but for rounding.
                last = own[-1]["distance"] + 2 * rounding(self.dimension) if len(own) == fetched else -2.0
                again |= len(own) > 0 and matches[-1].scores[-1] <= last
            if not again or self.options.kind != "exact" or fetched == MOST:
                return matches
            limit = min(MOST, 8 * limit)

    def _scanned(self, queries: np.ndarray, k: int, filter: Filter | None) -> list[Matches]:
        """Every entry that meets the filter compared here."""
        kept: list[list[Entry]] = [[] for _ in queries]
        least = np.full(len(queries), -np.inf)
        for part in self._parts(expression(filter), FIELDS, 4096):
            entries = list(map(entry_of, part))
            products = queries @ stacked(entries).T
            for at, query in enumerate(queries):
                near = np.flatnonzero(products[at] >= least[at] - rounding(self.dimension))
                kept[at] += [entries[row] for row in near]
                if len(kept[at]) > k:
                    scores = scores_of(query, stacked(kept[at]))
                    least[at] = np.partition(scores, len(scores) - k)[len(scores) - k]
                    kept[at] = [kept[at][row] for row in np.flatnonzero(scores >= least[at])]
        return [best(query, own, k) for query, own in zip(queries, kept, strict=True)]

    def stats(self) -> Stats:
        cameras = modalities = size = None
        with self._alone():
            if self.lite:
                rows = self._query("", ["camera", "modality"])
                columns = np.array([[row["camera"], row["modality"]] for row in rows], np.int64).reshape(-1, 2)
                cameras, modalities = counted(columns[:, 0], columns[:, 1])
                size = bytes_in(Path(self.where))
            return Stats(
                self.backend,
                self.model,
                self.dimension,
                len(self),
                self.options.kind,
                0,
                None,
                cameras,
                modalities,
                size,
            )

    def build_index(self, options: IndexOptions | None = None, advance: Advance | None = None) -> None:
        """As in `Gallery`; Milvus tells of no progress. In a cluster, searches are refused until it is built."""
        options = options or self.options
        with self._lock:
            self._writable()
            self._refuse_impossible(self.dimension, options)
            # Whoever takes an approximate index for an exact one is told what is not true; not so the other way round.
            before = self.options
            if options.kind != "exact":
                self._tell_index(options)
            try:
                with self._told():
                    self._client.release_collection(self._entries)
                    if self._client.list_indexes(self._entries, field_name="embedding"):
                        self._client.drop_index(self._entries, "embedding")
                    self._create_index(options)
                    self._client.load_collection(self._entries)
            except GalleryError:
                with contextlib.suppress(GalleryError):
                    self._back_to(before)
                raise
            if options.kind == "exact":
                self._tell_index(options)

    def _back_to(self, before: IndexOptions) -> None:
        """Rather the index that there was than none, where another cannot be made."""
        with self._told():
            if not self._client.list_indexes(self._entries, field_name="embedding"):
                self._create_index(before)
                self._tell_index(before)
            self._client.load_collection(self._entries)

    def _create_index(self, options: IndexOptions) -> None:
        self._client.create_index(self._entries, milvus_fields.index_params(self._client, options, self.dimension))

    def _tell_index(self, options: IndexOptions) -> None:
        self._tell({**(self._about() or {}), "index": options.to_json()})
        self.options = options

    def compact(self, advance: Advance | None = None) -> None:
        """As in `Gallery` for Milvus Lite; a cluster is asked to compact, and removes what its retention does not keep."""
        with self._lock:
            self._writable()
            if not self.lite:
                with self._told():
                    self._client.flush(self._entries)
                    self._client.compact(self._entries)
                return
            locking.remove_unfinished(Path(self.where).absolute().parent)
            number = int(self._entries.rpartition("_")[2]) + 1
            name, before, total = f"{self.name}_entries_{number}", self._entries, len(self)
            with self._told():
                milvus_fields.create_entries(self._client, name, self.dimension, self.options)
            step = max(1, _MESSAGE // (4 * self.dimension + 2048))
            for part in self.batches(min(step, 4096)):
                with self._told():
                    self._client.insert(name, rows_of(part))
                if advance is not None:
                    advance(len(part), total)
            with self._told():
                self._client.flush(name)
                self._client.load_collection(name)
            self._tell({**(self._about() or {}), "entries": name})
            self._entries = name
            with self._told():
                self._client.drop_collection(before)

    def _snapshot(self, path: Path) -> None:
        """As in `Gallery`: the copy is a gallery in process. Consistent as far as writes through this object go."""
        from crossreid.galleries.faiss_gallery import FaissGallery

        with locking.unfinished(path) as outer:
            with self._lock, FaissGallery.create(outer / "gallery", self.model, self.dimension, IndexOptions()) as copy:
                for part in self.batches():
                    copy.add(part)
            store.as_one_file(outer / "gallery" / store.FILE)
            store.publish(outer / "gallery", path)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = _Closed(self.where)
                if self.lite:
                    from milvus_lite.server_manager import server_manager_instance

                    server_manager_instance.release_server(self.where)
            if self._file is not None:
                locking.unlock(self._file)
                self._file = None


class _Closed:
    """In place of a client that is gone."""

    def __init__(self, where: str) -> None:
        self._where = where

    def close(self) -> None:
        """Closed already."""

    def __getattr__(self, name: str) -> Any:
        raise GalleryFault(f"{self._where} is closed; open it again.")
