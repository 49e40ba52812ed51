"""The chunks of a job: a finished one is a file with its rows, its unreadable images and the states of its image files.

A chunk's file has the tensors `embeddings` `(n, D)` float32, `places` `(n,)` int64 (positions among all records) and
`files` `(m, 2)` int64 (of its m images; see `states_of`). Its metadata hold the digest of the plan and the bad images.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from crossreid.data.addresses import Address, Place, write_whole
from crossreid.data.object_storage import NotThere
from crossreid.data.records import Record
from crossreid.evaluation.embedding_files import as_metadata
from crossreid.evaluation.stored_tensors import read_stored
from crossreid.inference.bulk.folder import chunk_path
from crossreid.inference.bulk.plan import Plan


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """A finished chunk.

    `positions` `(n,)` of its rows among the records; `bad` (position, reason) of unreadable images; `states` `(m, 2)`
    of all its image files; `embeddings` `(n, D)`, None if they were not read.
    """

    positions: np.ndarray
    bad: list[tuple[int, str]]
    states: np.ndarray
    embeddings: np.ndarray | None


def states_of(records: Sequence[Record]) -> np.ndarray:
    """`(N, 2)` int64: size in bytes and modification time in nanoseconds of each record's file, -1 if there is none.

    For an object, the values in the listing that found it.
    """
    found = np.full((len(records), 2), -1, dtype=np.int64)
    for position, record in enumerate(records):
        if isinstance(record.path, Address):
            found[position] = record.path.state
            continue
        with suppress(OSError, ValueError):
            about = os.stat(record.path)
            found[position] = about.st_size, about.st_mtime_ns
    return found


def digest_of_states(states: Iterable[np.ndarray]) -> str:
    """Return the hexadecimal SHA-256 of the states of all image files, given in parts of any size."""
    digest = hashlib.sha256()
    for part in states:
        digest.update(part.astype("<i8").tobytes())
    return digest.hexdigest()


def write_chunk(parts: Place, number: int, plan: Plan, chunk: Chunk) -> None:
    """Write a finished chunk atomically."""
    assert chunk.embeddings is not None
    facts = {"job": plan.digest, "chunk": number, "bad": chunk.bad, "process": os.getpid()}
    tensors = {"embeddings": chunk.embeddings, "places": chunk.positions, "files": chunk.states}
    write_whole(chunk_path(parts, number, plan.digest), [save(tensors, as_metadata(facts))])


def read_chunk(parts: Place, number: int, plan: Plan, *, rows: bool = False) -> Chunk | None:
    """Return a finished chunk, with its embeddings if `rows`; None if it is missing, damaged or of another plan."""
    path = chunk_path(parts, number, plan.digest)
    if isinstance(path, Path) and not path.is_file():
        return None
    try:
        facts, _, tensors = read_stored(path, ["places", "files", *(["embeddings"] if rows else [])])
        if facts.get("job") != plan.digest:
            return None
        bad = [(int(position), str(reason)) for position, reason in json.loads(facts["bad"])]
        embeddings = tensors.get("embeddings")
        found = Chunk(tensors["places"], bad, tensors["files"], embeddings)
    except (SafetensorError, NotThere, KeyError, TypeError, ValueError):
        return None
    images = min(plan.chunk, plan.images - number * plan.chunk)
    whole = found.states.shape == (images, 2) and len(found.positions) + len(bad) == images
    return found if whole and (embeddings is None or len(embeddings) == len(found.positions)) else None
