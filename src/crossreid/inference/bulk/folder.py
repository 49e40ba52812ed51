"""The folder of a job, and which names in it are ours: other files are neither replaced nor removed.

OUT holds the files of a finished job; OUT/crossreid-parts holds unfinished work: locks, the plan, the list of images
and the finished chunks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from crossreid.data.addresses import Address, Place, names_in
from crossreid.data.object_storage import in_threads
from crossreid.data.records import DataError
from crossreid.evaluation.embedding_files import BAD_IMAGES, EMBEDDINGS, RECORDS, SCHEMA

PARTS = "crossreid-parts"
PLAN = "plan.json"
FILES = (BAD_IMAGES, RECORDS, EMBEDDINGS)
BAD_COLUMNS = ("path", "reason")
_CHUNK = re.compile(r"chunk-(\d{8,})(?:-[0-9a-f]{16})?\.safetensors")
_WRITTEN = rf"{re.escape(PLAN)}|{re.escape(RECORDS)}|{_CHUNK.pattern}"
# The temporary names of crossreid.files, and those of earlier versions, which ended in .tmp.
_TEMPORARY = re.compile(rf"\.(?:{_WRITTEN}|{'|'.join(map(re.escape, FILES))})\.\d+\.tmp(?:\.\w+)?")
_OURS = re.compile(rf"lock-\d+|{_WRITTEN}|{_TEMPORARY.pattern}")


def chunk_path(parts: Place, number: int, plan: str) -> Place:
    """Return the file of a chunk. In a store, which has no locks, its name includes the plan's digest."""
    return parts / (
        f"chunk-{number:08d}-{plan[:16]}.safetensors"
        if isinstance(parts, Address)
        else f"chunk-{number:08d}.safetensors"
    )


def chunk_number(name: str) -> int | None:
    """Return the number of the chunk with this file name, None for any other file."""
    found = _CHUNK.fullmatch(name)
    return int(found[1]) if found else None


def refuse_foreign(out: Place) -> None:
    """Raise `DataError` naming anything in the way that this program did not write."""
    parts = out / PARTS
    way_out = "Move it away, or choose another --out."
    if isinstance(out, Address):
        _refuse_foreign_objects(out, way_out)
        return
    assert isinstance(parts, Path)
    for folder in (out, parts):
        if (folder.exists() and not folder.is_dir()) or (folder == parts and folder.is_symlink()):
            raise DataError(f"{folder} exists and is not a folder. {way_out}")
    for path in sorted(parts.iterdir()) if parts.is_dir() else ():
        if not _OURS.fullmatch(path.name) or not path.is_file():
            raise DataError(f"{path} was not written by this program, which keeps its unfinished work there. {way_out}")
    for name in FILES:
        if (out / name).is_dir():
            raise DataError(f"{out / name} is a folder. {way_out}")
    if (out / EMBEDDINGS).exists():
        return  # `is_finished` checks that they are this job's; they are never overwritten
    _refuse_other_files(out, [name for name in (RECORDS, BAD_IMAGES) if (out / name).exists()], way_out)


def _refuse_foreign_objects(out: Address, way_out: str) -> None:
    there = out.names()
    parts = out / PARTS
    for name in parts.names() if PARTS in there else ():
        if not _OURS.fullmatch(name):
            raise DataError(
                f"{parts / name} was not written by this program, which keeps its unfinished work there. {way_out}"
            )
    if EMBEDDINGS in there:
        return
    _refuse_other_files(out, there, way_out)


def _refuse_other_files(out: Place, there: Collection[str], way_out: str) -> None:
    if RECORDS in there and not _is_our_table(out / RECORDS):
        raise DataError(f"{out / RECORDS} is not a table written by `crossreid embed`, or it is damaged. {way_out}")
    if BAD_IMAGES in there and not is_our_list(out / BAD_IMAGES):
        raise DataError(f"{out / BAD_IMAGES} is not a list written by `crossreid embed`. {way_out}")


def is_our_list(path: Place) -> bool:
    """Whether a file is a list of bad images that a job wrote."""
    return path.read_bytes().split(b"\n", 1)[0].rstrip() == ",".join(BAD_COLUMNS).encode()


def remove_temporary_files(out: Place) -> None:
    """Remove partly written files of killed processes. The caller must hold the lock of the folder.

    A store never holds partly written objects.
    """
    if isinstance(out, Address):
        return
    candidates = [*(out / PARTS).glob(".*.tmp*"), *(path for name in FILES for path in out.glob(f".{name}.*.tmp*"))]
    for path in candidates:
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def remove_chunks(parts: Place) -> None:
    """Remove chunks that belong to no plan."""
    for name in names_in(parts):
        if chunk_number(name) is not None:
            (parts / name).unlink(missing_ok=True)


def clear(parts: Place) -> None:
    """Remove the files that this program wrote there, and the folder if it is then empty."""
    if isinstance(parts, Address):
        names = [name for name in parts.names() if _OURS.fullmatch(name)]
        in_threads(lambda name: (parts / name).unlink(missing_ok=True), [name for name in names if name != PLAN])
        for name in {PLAN} & {*names}:  # last: without it the rest would belong to no job
            (parts / name).unlink(missing_ok=True)
        return
    for path in sorted(parts.iterdir(), key=lambda path: path.name.startswith("lock-")):  # locks last
        if _OURS.fullmatch(path.name):
            os.unlink(path)
    with suppress(OSError):  # something was added to it meanwhile, which stays
        os.rmdir(parts)


def _is_our_table(path: Place) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return bool(parquet.read_schema(pa.BufferReader(path.read_bytes())) == SCHEMA)
    except pa.ArrowException:
        return False
