"""Entries and filters in Milvus's terms: rows and expressions."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.galleries.entries import Entries, Entry
from crossreid.galleries.filters import Filter, prefix_end

FIELDS = ("id", "identity", "camera", "modality", "time", "source", "added", "embedding")
UNKNOWN = -1e300  # stands for an unknown time: before every valid one
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def key_of(text: str) -> str:
    """The primary key of an id: 32 hexadecimal digits of a digest."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def quoted(text: str) -> str:
    """Text as a literal in Milvus's expressions, where a quote or line end terminates it and five escapes exist."""
    return f'"{text.translate(_ESCAPES)}"'


def expression(filter: Filter | None) -> str:
    """A filter as an expression, '' for none. A prefix becomes a range: in LIKE, % and _ are wildcards."""
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


def rows_of(entries: Entries) -> list[dict[str, Any]]:
    """Entries as rows to insert."""
    return [
        {
            "key": key_of(name), "id": name, "identity": identity or "", "camera": camera, "modality": modality,
            "time": UNKNOWN if math.isnan(time) else time, "source": source, "added": added,
            "embedding": embedding,
        }
        for name, identity, camera, modality, time, source, added, embedding in zip(
            entries.ids, entries.identities, entries.cameras.tolist(), entries.modalities.tolist(), entries.times.tolist(),
            entries.sources, entries.added.tolist(), entries.embeddings, strict=True,
        )
    ]  # fmt: skip


def entry_of(row: Any) -> Entry:
    """The entry of a returned row."""
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
