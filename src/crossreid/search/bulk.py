"""Embedding millions of images: in chunks, by one process or several, and again from where a killed job stopped.

The list of images is cut into chunks. Each finished chunk is a file, written under a temporary name, synchronised and
renamed, so that it is whole or not there; which process embeds it follows from its number alone. `plan.json` pins the list,
the model and what the numbers depend on. When all chunks are there, the first process joins them: embeddings.safetensors is
renamed into place last, and its being there means that the job is done.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import crossreid
from crossreid.data.loader import planned_batches
from crossreid.data.records import DataError, Record
from crossreid.search.arithmetic import faster_precision
from crossreid.search.embeddings import (
    BAD_IMAGES,
    EMBEDDINGS,
    FORMAT,
    RECORDS,
    as_metadata,
    read_about,
    table_of,
    write_durably,
    write_rows,
    write_table,
)
from crossreid.search.model import SearchModel
from crossreid.search.processes import Group, locked

BATCH, CHUNK = 64, 1024
FILES = (BAD_IMAGES, RECORDS, EMBEDDINGS)
# What a finished chunk's rows depend on: it must be the same when a job goes on.
PINNED = ("model", "runtime", "precision", "batch", "chunk", "list")


@dataclass(frozen=True, slots=True)
class Embedded:
    """How a job ended: rows in all, those of them that were there before, unreadable images."""

    folder: Path
    rows: int
    before: int
    bad: int


def embed_records(
    model: SearchModel,
    records: Sequence[Record],
    out: Path,
    *,
    precision: Literal["auto", "float32", "bf16"] = "float32",
    batch: int = BATCH,
    chunk: int = CHUNK,
    workers: int = 0,
    on_bad_image: Literal["stop", "skip"] = "stop",
    group: Group | None = None,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Embedded:
    """Embed the records into the folder `out`, or go on with the job that is there; rows are in the records' order.

    Args:
        precision: `auto` measures which is faster here, and says so; a job that goes on keeps its own.
        chunk: images of a chunk, what a kill can cost each process at most.
        on_bad_image: `skip` leaves an image that cannot be read out, and lists it in bad_images.csv.
        group: the processes that do this together; each calls it with the same arguments.
        advance: of the first process, called with (0, images) once and with images as they are done.

    Raises:
        DataError: an unreadable image, or a folder that holds something else than this job; what differs is named.
    """
    group = group or Group()
    if batch < 1 or chunk < batch:
        raise ValueError(f"expected a batch of 1 or more and a chunk of a batch or more, found {batch} and {chunk}.")
    if not records:
        raise DataError("there is no image to embed.")
    out = Path(out)
    parts = out / "parts"
    given = {
        "model": model.fingerprint,
        "runtime": model.runtime,
        "batch": batch,
        "chunk": chunk,
        "list": digest_of(records),
    }
    if group.rank == 0:
        parts.mkdir(parents=True, exist_ok=True)
        with locked(parts, group):
            for leftover in (*parts.glob(".*.tmp"), *(path for name in FILES for path in out.glob(f".{name}.*.tmp"))):
                leftover.unlink()  # of a killed process
            if not _finished(out, given, precision):
                _plan(model, records, parts, given, precision, say)
            group.wait()
            return _take_part(model, records, out, workers, on_bad_image, group, advance)
    group.wait()
    with locked(parts, group) if parts.is_dir() else nullcontext():
        return _take_part(model, records, out, workers, on_bad_image, group, None)


def digest_of(records: Sequence[Record]) -> str:
    """SHA-256 of the list of images: of what each row of records.parquet says, and of how its image is made."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr((record.path.as_posix(), record.identity, record.camera, int(record.modality), record.tracklet,
                            record.pseudo_infrared, record.frame, record.box, record.time)).encode())  # fmt: skip
    return digest.hexdigest()


def _plan(
    model: SearchModel, records: Sequence[Record], parts: Path, given: dict[str, Any], precision: str,
    say: Callable[[str], object],
) -> None:  # fmt: skip
    """Read the plan of the job that is there and refuse another, or make one. The first process does it alone."""
    if (parts / "plan.json").is_file():
        plan = _read_plan(parts)
        _refuse_another(parts, plan, given | ({} if precision == "auto" else {"precision": precision}), records)
        return
    if precision == "auto":
        precision, why = faster_precision(model, records, batch=given["batch"])
        say(f"precision: {precision} ({why})")
    for chunk in parts.glob("chunk-*"):
        chunk.unlink()  # of a job without a plan
    write_table(table_of(records), parts / RECORDS)
    plan = given | {
        "precision": precision,
        "images": len(records),
        "dimension": model.dimension,
        "method": model.method,
        "preprocessing": model.preprocessing.to_json(),
        "flip": model.flip,
        "version": crossreid.__version__,
    }
    write_durably(parts / "plan.json", [json.dumps(plan, indent=2).encode()])


def _read_plan(parts: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads((parts / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{parts / 'plan.json'} is damaged ({error}). Delete {parts} and embed again.") from error
    return plan


def _refuse_another(where: Path, plan: dict[str, Any], given: dict[str, Any], records: Sequence[Record] | None) -> None:
    differ = [key for key in PINNED if key in given and plan.get(key) != given[key]]
    if not differ:
        return
    told = []
    for key in differ:
        if key == "list":
            told.append(_first_difference(where, records) if records else "the list of images is another")
        else:
            told.append(f"{key} was {_short(plan.get(key))}, is {_short(given[key])}")
    raise DataError(f"{where} belongs to another job: {'; '.join(told)}. Choose another --out, or delete that folder.")


def _first_difference(parts: Path, records: Sequence[Record]) -> str:
    import pyarrow.parquet as parquet

    before = parquet.read_table(parts / RECORDS).to_pylist()
    now = table_of(records).to_pylist()
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            key = next(key for key in old if old[key] != new[key])
            return f"image {place} ({old['path']}): {key} was {old[key]!r}, is {new[key]!r}"
    return f"the list had {len(before)} images, has {len(now)}"


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 24 else str(value)


def _finished(out: Path, given: dict[str, Any], precision: str) -> bool:
    """Whether this job is done; what a kill between its last two steps left is cleared away."""
    if not (out / EMBEDDINGS).is_file():
        return False
    shutil.rmtree(out / "parts")
    about = read_about(out)
    pinned = given if precision == "auto" else given | {"precision": precision}
    _refuse_another(out, {key: about.get(key) for key in PINNED}, as_metadata(pinned), None)
    return True


def _take_part(
    model: SearchModel, records: Sequence[Record], out: Path, workers: int, on_bad_image: str, group: Group,
    advance: Callable[..., object] | None,
) -> Embedded:  # fmt: skip
    """This process's chunks; of the first process also the joining of all."""
    parts = out / "parts"
    if not (parts / "plan.json").is_file():
        about = read_about(out)
        rows = int(about["rows"])
        return Embedded(out, rows, rows, int(about["bad"]))
    plan = _read_plan(parts)
    _refuse_another(parts, plan, {"model": model.fingerprint, "list": digest_of(records)}, records)
    model.with_precision(plan["precision"])
    size, total = plan["chunk"], len(records)
    chunks = [range(first, min(first + size, total)) for first in range(0, total, size)]
    there = {number for number in range(len(chunks)) if _read_chunk(parts, number, plan) is not None}
    before = sum(len(chunks[number]) for number in there)
    if advance is not None:
        advance(0, total)
        advance(before)
    mine = {number: chunks[number] for number in range(group.rank, len(chunks), group.world) if number not in there}
    tell = _telling(advance, parts, chunks, there, set(mine))
    group.wait()  # all have seen the same chunks before one is added
    _embed_chunks(model, records, parts, plan, mine, workers, on_bad_image == "skip", tell)
    group.wait()
    if group.rank != 0:
        return Embedded(out, 0, 0, 0)
    rows, bad = _join(records, out, plan, len(chunks), on_bad_image)
    return Embedded(out, rows, before, bad)


def _embed_chunks(
    model: SearchModel, records: Sequence[Record], parts: Path, plan: dict[str, Any], mine: dict[int, range], workers: int,
    skip: bool, tell: Callable[[int], None],
) -> None:  # fmt: skip
    step = plan["batch"]
    batches = [
        (number, places[first : first + step])
        for number, places in mine.items()
        for first in range(0, len(places), step)
    ]
    seen = model.preprocessing
    loaded = planned_batches(
        records, [places for _, places in batches], height=seen.height, width=seen.width, workers=workers,
        interpolation=seen.interpolation, skip=skip,
    )  # fmt: skip
    rows: list[np.ndarray] = []
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    for (number, places), batch in zip(batches, loaded, strict=True):
        if len(batch.places):
            rows.append(model.embed(batch.images, batch.modalities).numpy())
            kept += batch.places.tolist()
        bad += batch.bad
        if places[-1] == mine[number][-1]:
            embeddings = np.concatenate(rows) if rows else np.empty((0, plan["dimension"]), np.float32)
            wrong = ~np.isfinite(embeddings).all(1)
            if wrong.any():
                raise DataError(
                    f"{records[kept[int(wrong.argmax())]].path}: its embedding is not finite. "
                    "Embed with --precision float32, or look at the model."
                )
            facts = {"job": _job(plan), "chunk": number, "bad": bad, "process": os.getpid()}
            tensors = {"embeddings": embeddings, "places": np.array(kept, dtype=np.int64)}
            write_durably(_chunk_path(parts, number), [save(tensors, as_metadata(facts))])
            rows, kept, bad = [], [], []
        tell(len(places))


def _chunk_path(parts: Path, number: int) -> Path:
    return parts / f"chunk-{number:08d}.safetensors"


def _job(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({key: plan[key] for key in PINNED}, sort_keys=True).encode()).hexdigest()


def _read_chunk(parts: Path, number: int, plan: dict[str, Any], *, rows: bool = False) -> Any:
    """(embeddings or None, places, bad images) of a finished chunk; None where it is missing or damaged."""
    path = _chunk_path(parts, number)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as stored:
            facts = stored.metadata() or {}
            if facts.get("job") != _job(plan):
                return None
            embeddings = stored.get_tensor("embeddings") if rows else None
            return embeddings, stored.get_tensor("places"), json.loads(facts["bad"])
    except (SafetensorError, OSError):
        return None


def _join(
    records: Sequence[Record], out: Path, plan: dict[str, Any], chunks: int, on_bad_image: str
) -> tuple[int, int]:
    """Write the three files of the finished job, the embeddings last, and take the chunks away."""
    parts = out / "parts"
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    for number in range(chunks):
        found = _read_chunk(parts, number, plan)
        if found is None:
            raise DataError(
                f"{_chunk_path(parts, number)} is missing or damaged. The same command again embeds it again."
            )
        kept += found[1].tolist()
        bad += found[2]
    if bad and on_bad_image == "stop":
        raise DataError(f"{bad[0][1]} ({len(bad)} such images.) Use --on-bad-image skip to leave them out.")
    if not kept:
        raise DataError(f"none of the {len(records)} images can be read ({bad[0][1]}).")
    if bad:
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(("path", "reason"))
        lines.writerows((records[place].path.as_posix(), reason) for place, reason in bad)
        write_durably(out / BAD_IMAGES, [text.getvalue().encode()])
    digest = write_table(table_of([records[place] for place in kept]), out / RECORDS)
    facts = plan | {"format": FORMAT, "records": digest, "rows": len(kept), "bad": len(bad)}
    rows = (_read_chunk(parts, number, plan, rows=True)[0] for number in range(chunks))
    write_rows(out / EMBEDDINGS, rows, (len(kept), plan["dimension"]), as_metadata(facts))
    shutil.rmtree(parts)
    return len(kept), len(bad)


def _telling(
    advance: Callable[..., object] | None, parts: Path, chunks: Sequence[range], there: set[int], mine: set[int]
) -> Callable[[int], None]:
    """Progress of all processes as the first one sees it: its own images, and the others' finished chunks."""
    known = set(there)

    def tell(images: int) -> None:
        if advance is None:
            return
        names = {int(path.stem.removeprefix("chunk-")) for path in parts.glob("chunk-*.safetensors")}
        others = names - known - mine
        known.update(others)
        advance(images + sum(len(chunks[number]) for number in others))

    return tell
