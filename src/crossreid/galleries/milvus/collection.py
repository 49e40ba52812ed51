"""The collection that holds the entries of a Milvus gallery: its schema, its rows and its index.

The key of a row is a digest of the entry's id: pymilvus writes keys into expressions without escaping them, and ids are
any text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crossreid.galleries.entries import Entries
from crossreid.galleries.filters import Filter
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.location import Consistency
from crossreid.galleries.milvus.connection import Connection
from crossreid.galleries.milvus.fields import FIELDS, expression, rows_of
from crossreid.galleries.values import LIMITS

MOST = 16_384  # rows that Milvus returns in one answer
_KEYS = 1000  # per expression
_MESSAGE = 8 << 20  # bytes
_KINDS = {"FLAT": "exact", "HNSW": "hnsw", "IVF_PQ": "ivf-pq"}


class Collection:
    """A named collection of embeddings of `dimension` numbers. Its methods raise `GalleryFault` if Milvus fails."""

    def __init__(self, connection: Connection, name: str, dimension: int, consistency: Consistency = "strong") -> None:
        self._connection, self.name, self.dimension, self.consistency = connection, name, dimension, consistency

    @property
    def at_once(self) -> int:
        """The number of entries that fit into one message."""
        return max(1, _MESSAGE // (4 * self.dimension + 2048))

    def create(self, options: IndexOptions) -> None:
        """Create it, empty, replacing one left by a process that died. Writes are seen by the next search."""
        from pymilvus import DataType, MilvusClient

        client = self._connection.client
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
        for field, limit in LIMITS.items():
            schema.add_field(field, DataType.VARCHAR, max_length=limit)
        for field in ("camera", "modality"):
            schema.add_field(field, DataType.INT64)
        for field in ("time", "added"):
            schema.add_field(field, DataType.DOUBLE)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=self.dimension)
        with self._connection.faults():
            if client.has_collection(self.name):
                client.drop_collection(self.name)
            client.create_collection(
                self.name, schema=schema, index_params=self._index_params(options), consistency_level="Strong"
            )

    def load(self) -> None:
        """Load it for searching."""
        with self._connection.faults():
            self._connection.client.load_collection(self.name)

    def flush(self) -> None:
        """Flush what was written to storage."""
        with self._connection.faults():
            self._connection.client.flush(self.name)

    def compact(self) -> None:
        """Ask a cluster to remove deleted rows from storage."""
        with self._connection.faults():
            self._connection.client.compact(self.name)

    def drop(self) -> None:
        """Delete it with its content."""
        with self._connection.faults():
            self._connection.client.drop_collection(self.name)

    # Rows.

    def rows(self, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """All rows that meet a condition, however many."""
        found: list[dict[str, Any]] = []
        for part in self.parts(condition, fields, MOST // 2):
            found += part
        return found

    def parts(self, condition: str, fields: Sequence[str], size: int) -> Iterator[list[dict[str, Any]]]:
        """As `rows`, `size` at a time."""
        with self._connection.faults():
            rows = self._connection.client.query_iterator(
                self.name, batch_size=size, filter=condition, output_fields=list(fields)
            )
            try:
                while part := rows.next():
                    yield part
            finally:
                rows.close()

    def keys(self) -> list[str]:
        """The key of every row, in order."""
        return sorted(row["key"] for row in self.rows("", ["key"]))

    def by_keys(self, keys: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The row of each existing key."""
        found: dict[str, dict[str, Any]] = {}
        for condition in _of_keys(keys):
            with self._connection.faults():
                part = self._connection.client.query(self.name, filter=condition, output_fields=["key", *fields])
            found.update({row["key"]: row for row in part})
        return found

    def count(self, condition: str = "") -> int:
        """The number of rows that meet a condition."""
        with self._connection.faults():
            found = self._connection.client.query(self.name, filter=condition, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def insert(self, entries: Entries, *, replace: bool = False) -> None:
        """Write at most `at_once` entries in one message.

        In a cluster, existing rows are always replaced: if two processes insert the same key at the same time, there
        are two rows of it, and searches that find both fail.
        """
        client = self._connection.client
        with self._connection.faults():
            (client.upsert if replace or not self._connection.lite else client.insert)(self.name, rows_of(entries))

    def remove(self, keys: Sequence[str]) -> None:
        """Delete the rows of keys."""
        for condition in _of_keys(keys):
            with self._connection.faults():
                self._connection.client.delete(self.name, filter=condition)

    # The index.

    def hits(self, queries: np.ndarray, limit: int, filter: Filter | None, params: dict[str, int]) -> Any:
        """Milvus's hits for each query: at most `limit` rows, by the index, with the search parameters `params`.

        `consistency` determines which writes are seen: if strong, all that were acknowledged before, by any process.
        """
        with self._connection.faults():
            return self._connection.client.search(
                self.name, data=list(queries), limit=limit, filter=expression(filter), anns_field="embedding",
                output_fields=list(FIELDS), search_params={"metric_type": "IP", "params": params},
                consistency_level=self.consistency.capitalize(),
            )  # fmt: skip

    def has_index(self) -> bool:
        """Whether there is an index over the embeddings."""
        with self._connection.faults():
            return bool(self._connection.client.list_indexes(self.name, field_name="embedding"))

    def index_kind(self) -> str | None:
        """The kind of the existing index, None for one unknown here."""
        with self._connection.faults():
            found = self._connection.client.describe_index(self.name, "embedding") or {}
        return _KINDS.get(found.get("index_type", ""))

    def create_index(self, options: IndexOptions) -> None:
        """Build an index if there is none."""
        with self._connection.faults():
            self._connection.client.create_index(self.name, self._index_params(options))

    def replace_index(self, options: IndexOptions) -> None:
        """Drop the index and build another. Until that is done, the collection is not loaded."""
        with self._connection.faults():
            self._connection.client.release_collection(self.name)
        if self.has_index():
            with self._connection.faults():
                self._connection.client.drop_index(self.name, "embedding")
        self.create_index(options)
        self.load()

    def _index_params(self, options: IndexOptions) -> Any:
        size = options.part_bytes(self.dimension)
        kind, given = {
            "exact": ("FLAT", {}),
            "hnsw": ("HNSW", {"M": options.m, "efConstruction": options.ef_construction}),
            "ivf-pq": ("IVF_PQ", {"nlist": options.nlist or 1024, "m": size, "nbits": 8}),
        }[options.kind]
        params = self._connection.client.prepare_index_params()
        params.add_index("embedding", index_type=kind, metric_type="IP", params=given)
        return params


def _of_keys(keys: Sequence[str]) -> Iterator[str]:
    """Expressions that together find all keys."""
    for start in range(0, len(keys), _KEYS):
        yield f"key in {json.dumps(keys[start : start + _KEYS])}"
