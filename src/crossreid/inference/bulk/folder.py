"""The folder of a job, and which names in it are ours: nothing else there is replaced or removed.

OUT holds the files of a finished job; OUT/crossreid-parts holds unfinished work: locks, the plan, the list of images and
the finished chunks.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from crossreid.data.records import DataError
from crossreid.evaluation.embedding_files import BAD_IMAGES, EMBEDDINGS, RECORDS, SCHEMA

PARTS = "crossreid-parts"
PLAN = "plan.json"
FILES = (BAD_IMAGES, RECORDS, EMBEDDINGS)
BAD_COLUMNS = ("path", "reason")
_CHUNK = re.compile(r"chunk-(\d{8,})\.safetensors")
_WRITTEN = rf"{re.escape(PLAN)}|{re.escape(RECORDS)}|{_CHUNK.pattern}"
# The temporary names of crossreid.files, and those of earlier versions, which ended in .tmp.
_TEMPORARY = re.compile(rf"\.(?:{_WRITTEN}|{'|'.join(map(re.escape, FILES))})\.\d+\.tmp(?:\.\w+)?")
_OURS = re.compile(rf"lock-\d+|{_WRITTEN}|{_TEMPORARY.pattern}")


def chunk_path(parts: Path, number: int) -> Path:
    """The file of a chunk."""
    return parts / f"chunk-{number:08d}.safetensors"


def chunk_number(name: str) -> int | None:
    """The number of the chunk that a file is called after, None of any other file."""
    found = _CHUNK.fullmatch(name)
    return int(found[1]) if found else None


def refuse_foreign(out: Path) -> None:
    """Raise `DataError` where something is in the way that this program did not write; it is named."""
    parts = out / PARTS
    way_out = "Move it away, or choose another --out."
    for folder in (out, parts):
        if (folder.exists() and not folder.is_dir()) or (folder == parts and folder.is_symlink()):
            raise DataError(f"{folder} is there and is no folder. {way_out}")
    for path in sorted(parts.iterdir()) if parts.is_dir() else ():
        if not _OURS.fullmatch(path.name) or not path.is_file():
            raise DataError(f"{path} is not of this program, which keeps its unfinished work there. {way_out}")
    for name in FILES:
        if (out / name).is_dir():
            raise DataError(f"{out / name} is a folder. {way_out}")
    if (out / EMBEDDINGS).exists():
        return  # whose they are is seen when it is asked whether the job is done; nothing is written over them
    if (out / RECORDS).exists() and not _is_our_table(out / RECORDS):
        raise DataError(f"{out / RECORDS} is no table that `crossreid embed` wrote, or it is damaged. {way_out}")
    if (out / BAD_IMAGES).exists() and not is_our_list(out / BAD_IMAGES):
        raise DataError(f"{out / BAD_IMAGES} is no list that `crossreid embed` wrote. {way_out}")


def is_our_list(path: Path) -> bool:
    """Whether a file is a list of bad images that a job wrote."""
    with path.open("rb") as stream:
        return stream.readline().rstrip() == ",".join(BAD_COLUMNS).encode()


def remove_temporary_files(out: Path) -> None:
    """Remove what killed processes left half written. Only who holds the lock of the folder may do it."""
    candidates = [*(out / PARTS).glob(".*.tmp*"), *(path for name in FILES for path in out.glob(f".{name}.*.tmp*"))]
    for path in candidates:
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def remove_chunks(parts: Path) -> None:
    """Remove chunks that no plan is of."""
    for path in parts.iterdir():
        if chunk_number(path.name) is not None:
            path.unlink()


def clear(parts: Path) -> None:
    """Remove the files that this program wrote there, and the folder if that was all."""
    for path in sorted(parts.iterdir(), key=lambda path: path.name.startswith("lock-")):  # locks last
        if _OURS.fullmatch(path.name):
            os.unlink(path)
    with suppress(OSError):  # somebody put something into it meanwhile, which stays
        os.rmdir(parts)


def _is_our_table(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with path.open("rb") as stream:
        try:
            return bool(parquet.read_schema(stream) == SCHEMA)
        except pa.ArrowException:
            return False
