"""How entries, filters and indexes are written for Milvus, and how what it found is told."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.galleries.entries import LIMITS, Batch, Entry, Filter, Matches, prefix_end, stacked
from crossreid.galleries.indexes import IndexOptions
from crossreid.galleries.table import scores_of

FIELDS = ("id", "identity", "camera", "modality", "time", "source", "added", "embedding")
UNKNOWN = -1e300  # the time that is not known: before every time there is
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def key_of(text: str) -> str:
    """The primary key of an id: 32 hexadecimal digits of a digest."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def quoted(text: str) -> str:
    """Text as a literal of Milvus's expressions, which end at a quote or a line's end and know five escapes."""
    return f'"{text.translate(_ESCAPES)}"'


def expression(filter: Filter | None) -> str:
    """A filter as an expression, '' for none. A prefix is a range: LIKE would take % and _ for more than letters."""
    if filter is None:
        return ""
    parts = []
    if filter.identity is not None:
        parts.append(f"identity == {quoted(filter.identity)}")
    if filter.cameras is not None:
        parts.append(f"camera in {list(filter.cameras)}")
    if filter.modality is not None:
        parts.append(f"modality == {int(filter.modality)}")
    if filter.since is not None:
        parts.append(f"time >= {filter.since!r}")
    if filter.until is not None:
        parts.append(f"time > {UNKNOWN!r} and time < {filter.until!r}")
    if filter.added_until is not None:
        parts.append(f"added < {filter.added_until!r}")
    if filter.source is not None:
        parts.append(f"source == {quoted(filter.source)}")
    if filter.source_prefix:
        parts.append(f"source >= {quoted(filter.source_prefix)}")
        if (end := prefix_end(filter.source_prefix)) is not None:
            parts.append(f"source < {quoted(end)}")
    return " and ".join(parts)


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """A batch as rows to insert."""
    return [
        {
            "key": key_of(name), "id": name, "identity": identity or "", "camera": camera, "modality": modality,
            "time": UNKNOWN if math.isnan(time) else time, "source": source, "added": added,
            "embedding": embedding,
        }
        for name, identity, camera, modality, time, source, added, embedding in zip(
            batch.ids, batch.identities, batch.cameras.tolist(), batch.modalities.tolist(), batch.times.tolist(),
            batch.sources, batch.added.tolist(), batch.embeddings, strict=True,
        )
    ]  # fmt: skip


def entry_of(row: Any) -> Entry:
    """The entry of a row that came back."""
    return Entry(
        np.array(row["embedding"], np.float32),
        row["id"],
        row["identity"] or None,
        int(row["camera"]),
        Modality(int(row["modality"])),
        None if row["time"] == UNKNOWN else float(row["time"]),
        row["source"],
        float(row["added"]),
    )


def best(query: np.ndarray, entries: list[Entry], k: int) -> Matches:
    """The k nearest of entries that have their embeddings, by score and then by id."""
    if not entries:
        return Matches((), np.empty(0), ())
    scores = scores_of(query, stacked(entries))
    order = sorted(range(len(entries)), key=lambda at: (-scores[at], entries[at].id))[:k]
    chosen = tuple(replace(entries[at], embedding=None) for at in order)
    return Matches(tuple(entry.id for entry in chosen), scores[order], chosen)


def create_entries(client: Any, name: str, dimension: int, options: IndexOptions) -> None:
    """An empty collection of entries. Writes are seen by the next search."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
    for field, limit in LIMITS.items():
        schema.add_field(field, DataType.VARCHAR, max_length=limit)
    for field in ("camera", "modality"):
        schema.add_field(field, DataType.INT64)
    for field in ("time", "added"):
        schema.add_field(field, DataType.DOUBLE)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dimension)
    client.create_collection(
        name, schema=schema, index_params=index_params(client, options, dimension), consistency_level="Strong"
    )


def create_about(client: Any, name: str) -> None:
    """An empty collection of what a gallery is, which needs a vector as every collection does."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("text", DataType.VARCHAR, max_length=4096)
    schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
    params = client.prepare_index_params()
    params.add_index("unused", index_type="FLAT", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong")


def index_params(client: Any, options: IndexOptions, dimension: int) -> Any:
    """The index of the embeddings."""
    size = options.pq_bytes or next(n for n in range(max(1, dimension // 4), 0, -1) if dimension % n == 0)
    kind, given = {
        "exact": ("FLAT", {}),
        "hnsw": ("HNSW", {"M": options.m, "efConstruction": options.ef_construction}),
        "ivf-pq": ("IVF_PQ", {"nlist": options.nlist or 1024, "m": size, "nbits": 8}),
    }[options.kind]
    params = client.prepare_index_params()
    params.add_index("embedding", index_type=kind, metric_type="IP", params=given)
    return params
