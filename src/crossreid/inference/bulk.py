"""Embedding millions of images: in chunks, by one process or several, and again from where a killed job stopped.

The list of images is cut into chunks. Each finished chunk is a file, written under a temporary name, synchronised and
renamed, so that it is whole or not there; which process embeds it follows from its number alone. `plan.json` pins the list,
the model and what the numbers depend on; each chunk says of its images' files how large they were and when they were changed,
so that one of other images is embedded again. When all chunks are there, the first process joins them:
embeddings.safetensors is renamed into place last, and its being there means that the job is done.

What is in the folder and was not written by this program is neither replaced nor removed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import crossreid
from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.files import write_durably
from crossreid.inference.embedded_files import (
    BAD_IMAGES,
    EMBEDDINGS,
    FORMAT,
    RECORDS,
    SCHEMA,
    as_metadata,
    check_folder,
    read_about,
    table_of,
    write_rows,
    write_table,
)
from crossreid.inference.model import SearchModel
from crossreid.inference.precision import faster_precision
from crossreid.inference.processes import Group, locked

BATCH, CHUNK = 64, 1024
PARTS = "crossreid-parts"
FILES = (BAD_IMAGES, RECORDS, EMBEDDINGS)
BAD_COLUMNS = ("path", "reason")
LOOKED_EVERY = 2.0  # seconds, at other processes' chunks: a folder of many is not listed in no time
_CHUNK = re.compile(r"chunk-(\d{8,})\.safetensors")
_WRITTEN = rf"plan\.json|{re.escape(RECORDS)}|{_CHUNK.pattern}"
_LEFTOVER = re.compile(rf"\.(?:{_WRITTEN}|{'|'.join(map(re.escape, FILES))})\.\d+\.tmp\.\w+")
_OWN = re.compile(rf"lock-\d+|{_WRITTEN}|{_LEFTOVER.pattern}")
# What a finished chunk's rows depend on: it must be the same when a job goes on.
PINNED = ("model", "runtime", "precision", "batch", "chunk", "list")
_PLAN = {
    "model": str, "runtime": str, "precision": str, "batch": int, "chunk": int, "list": str, "images": int, "dimension": int,
    "method": str, "preprocessing": dict, "flip": bool, "version": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Embedded:
    """How a job ended: rows in all, those of them that were there before, images that were left out."""

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
    left_out: Sequence[tuple[str, str]] = (),
    group: Group | None = None,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Embedded:
    """Embed the records into the folder `out`, or go on with the job that is there; rows are in the records' order.

    Args:
        precision: `auto` measures which is faster here, and says so; a job that goes on keeps its own.
        chunk: images of a chunk, what a kill can cost each process at most.
        on_bad_image: `skip` leaves an image that cannot be read out, and lists it in bad_images.csv.
        left_out: (path, reason) of what was left out of the records already, listed with the rest.
        group: the processes that do this together; each calls it with the same arguments.
        advance: of the first process, called with (0, images) once and with images as they are done.

    Raises:
        DataError: an unreadable image, a folder that holds something else than this job, or one of a job that is done and
            whose images were changed since; what differs is named.
        OSError: the system does not give an image out, or takes no file.
    """
    group = group or Group()
    if batch < 1 or chunk < batch:
        raise CrossreidError(
            f"expected a batch of 1 or more and a chunk of a batch or more, found {batch} and {chunk}."
        )
    if not records:
        raise DataError("there is no image to embed.")
    out = Path(out)
    parts = out / PARTS
    given = {
        "model": model.fingerprint,
        "runtime": model.runtime,
        "batch": batch,
        "chunk": chunk,
        "list": digest_of(records),
    }
    if group.rank == 0:
        _refuse_foreign(out)
        fresh = not parts.exists()
        parts.mkdir(parents=True, exist_ok=True)
        with locked(parts, group):
            try:
                finished = _finished(out, given, precision, records)
            except DataError:
                if fresh:
                    _clear(parts)  # it held the lock only
                raise
            if not finished:
                temporary = (
                    *parts.glob(".*.tmp.*"),
                    *(path for name in FILES for path in out.glob(f".{name}.*.tmp.*")),
                )
                for path in temporary:
                    if _LEFTOVER.fullmatch(path.name):
                        path.unlink()  # of a killed process
                _plan(model, records, parts, given, precision, say)
            group.wait()
            return _take_part(model, records, out, workers, on_bad_image, left_out, group, advance, say)
    group.wait()
    with locked(parts, group) if parts.is_dir() else nullcontext():
        return _take_part(model, records, out, workers, on_bad_image, left_out, group, None, say)


def _refuse_foreign(out: Path) -> None:
    """Raise `DataError` where something is in the way that this program did not write; it is named."""
    parts = out / PARTS
    way_out = "Move it away, or choose another --out."
    for folder in (out, parts):
        if (folder.exists() and not folder.is_dir()) or (folder == parts and folder.is_symlink()):
            raise DataError(f"{folder} is there and is no folder. {way_out}")
    for path in sorted(parts.iterdir()) if parts.is_dir() else ():
        if not _OWN.fullmatch(path.name) or not path.is_file():
            raise DataError(f"{path} is not of this program, which keeps its unfinished work there. {way_out}")
    for name in FILES:
        if (out / name).is_dir():
            raise DataError(f"{out / name} is a folder. {way_out}")
    if (out / EMBEDDINGS).exists():
        return  # whose they are is seen when it is asked whether the job is done; nothing is written over them
    if (out / RECORDS).exists() and not _is_our_table(out / RECORDS):
        raise DataError(f"{out / RECORDS} is no table that `crossreid embed` wrote, or it is damaged. {way_out}")
    if (out / BAD_IMAGES).exists() and not _is_our_list(out / BAD_IMAGES):
        raise DataError(f"{out / BAD_IMAGES} is no list that `crossreid embed` wrote. {way_out}")


def _is_our_table(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with path.open("rb") as stream:
        try:
            return bool(parquet.read_schema(stream) == SCHEMA)
        except pa.ArrowException:
            return False


def _is_our_list(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.readline().rstrip() == ",".join(BAD_COLUMNS).encode()


def digest_of(records: Sequence[Record]) -> str:
    """SHA-256 of the list of images: of what each row of records.parquet says, and of how its image is made."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr((record.path.as_posix(), record.identity, record.camera, int(record.modality), record.tracklet,
                            record.pseudo_infrared, record.frame, record.box, record.time)).encode())  # fmt: skip
    return digest.hexdigest()


def states_of(records: Sequence[Record]) -> np.ndarray:
    """`(N, 2)` int64: size in bytes and time of the last change in nanoseconds of each record's file, -1 where there is none."""
    found = np.full((len(records), 2), -1, dtype=np.int64)
    for place, record in enumerate(records):
        with suppress(OSError, ValueError):
            about = os.stat(record.path)
            found[place] = about.st_size, about.st_mtime_ns
    return found


def _plan(
    model: SearchModel, records: Sequence[Record], parts: Path, given: dict[str, Any], precision: str,
    say: Callable[[str], object],
) -> None:  # fmt: skip
    """Read the plan of the job that is there and refuse another, or make one. The first process does it alone."""
    if (parts / "plan.json").is_file():
        plan = _read_plan(parts)
        pinned = given | ({} if precision == "auto" else {"precision": precision})
        _refuse_another(parts, plan, pinned, records, "delete that folder")
        return
    if precision == "auto":
        precision, why = faster_precision(model, records, batch=given["batch"])
        say(f"precision: {precision} ({why})")
    for path in parts.iterdir():
        if _CHUNK.fullmatch(path.name):
            path.unlink()  # of a job without a plan
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
    path = parts / "plan.json"
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plan, dict):
            raise CrossreidError("it is no object")
        if wrong := [key for key, kind in _PLAN.items() if type(plan.get(key)) is not kind]:
            raise CrossreidError(f"{wrong[0]} is {_short(plan.get(wrong[0], 'missing'))}")
        if not 1 <= plan["batch"] <= plan["chunk"] or plan["precision"] not in ("float32", "bf16"):
            raise CrossreidError(f"batch {plan['batch']}, chunk {plan['chunk']}, precision {_short(plan['precision'])}")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}). Delete {parts} and embed again.") from error
    return plan


def _refuse_another(
    where: Path, plan: dict[str, Any], given: dict[str, Any], records: Sequence[Record] | None, way_out: str
) -> None:
    differ = [key for key in PINNED if key in given and plan.get(key) != given[key]]
    if not differ:
        return
    told = []
    for key in differ:
        if key == "list":
            told.append(_first_difference(where, records) if records else "the list of images is another")
        else:
            told.append(f"{key} was {_short(plan.get(key))}, is {_short(given[key])}")
    raise DataError(f"{where} belongs to another job: {'; '.join(told)}. Choose another --out, or {way_out}.")


def _first_difference(parts: Path, records: Sequence[Record]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        before = parquet.read_table(pa.BufferReader((parts / RECORDS).read_bytes())).to_pylist()
    except (OSError, pa.ArrowException):
        return "the list of images is another"
    now = table_of(records).to_pylist()
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            key = next(key for key in new if old.get(key) != new[key])
            return f"image {place} ({old.get('path')}): {key} was {old.get(key)!r}, is {new[key]!r}"
    if len(before) == len(now):
        return "the list of images is another"
    return f"the list had {len(before)} images, has {len(now)}"


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 24 else str(value)


def _finished(out: Path, given: dict[str, Any], precision: str, records: Sequence[Record]) -> bool:
    """Whether this job is done; what a kill between its last two steps left is then cleared away.

    Raises `DataError` where what is there is damaged, of another job, or of images that were changed since.
    """
    if not (out / EMBEDDINGS).exists():
        return False
    about = check_folder(out)
    pinned = as_metadata(given if precision == "auto" else given | {"precision": precision})
    way_out = f"move {EMBEDDINGS} and {RECORDS} away"
    _refuse_another(out, {key: about.get(key) for key in PINNED}, pinned, None, way_out)
    states = states_of(records)
    if about.get("files") not in (None, _digest_of_states([states])):  # earlier versions did not say
        late = states[:, 1] > (out / EMBEDDINGS).stat().st_mtime_ns
        one = f", {records[int(late.argmax())].path} for example" if late.any() else ""
        raise DataError(
            f"{out}: images were changed since they were embedded{one}: sizes or times are not what they were. To embed them as "
            f"they are now, {way_out} and run the same command again, or choose another --out."
        )
    _clear(out / PARTS)
    return True


def _digest_of_states(states: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for part in states:
        digest.update(part.astype("<i8").tobytes())
    return digest.hexdigest()


def _clear(parts: Path) -> None:
    """Remove the files that this program wrote there, and the folder if that was all."""
    for path in sorted(parts.iterdir(), key=lambda path: path.name.startswith("lock-")):  # locks last
        if _OWN.fullmatch(path.name):
            os.unlink(path)
    with suppress(OSError):  # somebody put something into it meanwhile, which stays
        os.rmdir(parts)


def _take_part(
    model: SearchModel, records: Sequence[Record], out: Path, workers: int, on_bad_image: str,
    left_out: Sequence[tuple[str, str]], group: Group, advance: Callable[..., object] | None, say: Callable[[str], object],
) -> Embedded:  # fmt: skip
    """This process's chunks; of the first process also the joining of all."""
    parts = out / PARTS
    if not (parts / "plan.json").is_file():
        about = read_about(out)
        rows = int(about["rows"])
        return Embedded(out, rows, rows, int(about["bad"]))
    plan = _read_plan(parts)
    given = {"model": model.fingerprint, "list": digest_of(records)}
    _refuse_another(parts, plan, given, records, "delete that folder")
    model.with_precision(plan["precision"])
    size, total = plan["chunk"], len(records)
    chunks = [range(first, min(first + size, total)) for first in range(0, total, size)]
    there: dict[int, int] = {}  # rows of the finished chunks
    mine: dict[int, np.ndarray] = {}  # the states of the files of the chunks that are left to this process
    changed: list[Path] = []
    for number, places in enumerate(chunks):
        own = number % group.world == group.rank
        found = _read_chunk(parts, number, plan) if own or group.rank == 0 else None
        if not own and found is None:
            continue
        # Before any of them is loaded: an image that is changed meanwhile is one that was changed.
        states = states_of([records[place] for place in places])
        if found is not None:
            differ = (found.files != states).any(1)
            if not differ.any():
                there[number] = len(found.places)
                continue
            changed.append(records[places[int(differ.argmax())]].path)
        if own:
            mine[number] = states
            _chunk_path(parts, number).unlink(missing_ok=True)  # not to be counted as done
    if changed and group.rank == 0:
        say(f"images were changed, {changed[0]} for example; {len(changed)} chunks are embedded again")
    if advance is not None:
        advance(0, total)
        advance(sum(len(chunks[number]) for number in there))
    tell = _telling(advance, parts, chunks, {*there, *mine}, group.world)
    group.wait()  # all have seen the same chunks before one is added
    _embed_chunks(model, records, parts, plan, chunks, mine, workers, on_bad_image == "skip", tell)
    group.wait()
    if group.rank != 0:
        return Embedded(out, 0, 0, 0)
    tell(0, now=True)
    rows, bad = _join(records, out, plan, len(chunks), on_bad_image, left_out)
    return Embedded(out, rows, sum(there.values()), bad)


def _embed_chunks(
    model: SearchModel, records: Sequence[Record], parts: Path, plan: dict[str, Any], chunks: Sequence[range],
    mine: dict[int, np.ndarray], workers: int, skip: bool, tell: Callable[[int], None],
) -> None:  # fmt: skip
    step = plan["batch"]
    batches = [
        (number, chunks[number][first : first + step])
        for number in mine
        for first in range(0, len(chunks[number]), step)
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
        if len(batch.positions):
            rows.append(model.embed(batch.images, batch.modalities).numpy())
            kept += batch.positions.tolist()
        bad += batch.bad
        if places[-1] == chunks[number][-1]:
            embeddings = np.concatenate(rows) if rows else np.empty((0, plan["dimension"]), np.float32)
            wrong = ~np.isfinite(embeddings).all(1)
            if wrong.any():
                raise DataError(
                    f"{records[kept[int(wrong.argmax())]].path}: its embedding is not finite. "
                    "Embed with --precision float32, or look at the model."
                )
            facts = {"job": _job(plan), "chunk": number, "bad": bad, "process": os.getpid()}
            tensors = {"embeddings": embeddings, "places": np.array(kept, dtype=np.int64), "files": mine[number]}
            write_durably(_chunk_path(parts, number), [save(tensors, as_metadata(facts))])
            rows, kept, bad = [], [], []
        tell(len(places))


def _chunk_path(parts: Path, number: int) -> Path:
    return parts / f"chunk-{number:08d}.safetensors"


def _job(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({key: plan[key] for key in PINNED}, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class _Chunk:
    """A finished chunk: places among the records of its rows, (place, reason) of bad images, states of all its files."""

    places: np.ndarray
    bad: list[tuple[int, str]]
    files: np.ndarray
    embeddings: np.ndarray | None


def _read_chunk(parts: Path, number: int, plan: dict[str, Any], *, rows: bool = False) -> _Chunk | None:
    """A finished chunk, with `rows` its embeddings too; None where it is missing or damaged."""
    path = _chunk_path(parts, number)
    if not path.is_file():
        return None
    path.open("rb").close()  # safe_open says "no such file" of one that may not be read
    try:
        with safe_open(path, framework="np") as stored:
            facts = stored.metadata() or {}
            if facts.get("job") != _job(plan):
                return None
            bad = [(int(place), str(reason)) for place, reason in json.loads(facts["bad"])]
            embeddings = stored.get_tensor("embeddings") if rows else None
            found = _Chunk(stored.get_tensor("places"), bad, stored.get_tensor("files"), embeddings)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    images = min(plan["chunk"], plan["images"] - number * plan["chunk"])
    whole = found.files.shape == (images, 2) and len(found.places) + len(bad) == images
    return found if whole and (not rows or len(found.embeddings) == len(found.places)) else None  # type: ignore[arg-type]


def _join(
    records: Sequence[Record], out: Path, plan: dict[str, Any], chunks: int, on_bad_image: str,
    left_out: Sequence[tuple[str, str]],
) -> tuple[int, int]:  # fmt: skip
    """Write the three files of the finished job, the embeddings last, and take the chunks away."""
    parts = out / PARTS

    def chunk(number: int, *, rows: bool = False) -> _Chunk:
        found = _read_chunk(parts, number, plan, rows=rows)
        if found is None:
            raise DataError(
                f"{_chunk_path(parts, number)} is missing or damaged. The same command again embeds it again."
            )
        return found

    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    states: list[np.ndarray] = []
    for number in range(chunks):
        found = chunk(number)
        kept += found.places.tolist()
        bad += found.bad
        states.append(found.files)
    if bad and on_bad_image == "stop":
        raise DataError(f"{bad[0][1]} ({len(bad)} such images.) Use --on-bad-image skip to leave them out.")
    if not kept:
        raise DataError(f"none of the {len(records)} images can be read ({bad[0][1]}).")
    listed = [*left_out, *((records[place].path.as_posix(), reason) for place, reason in bad)]
    if listed:
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(BAD_COLUMNS)
        lines.writerows(listed)
        write_durably(out / BAD_IMAGES, [text.getvalue().encode()])
    elif (out / BAD_IMAGES).is_file() and _is_our_list(out / BAD_IMAGES):
        (out / BAD_IMAGES).unlink()  # of an earlier job, whose rows went away
    digest = write_table(table_of([records[place] for place in kept]), out / RECORDS)
    facts = plan | {
        "format": FORMAT, "records": digest, "rows": len(kept), "bad": len(listed), "files": _digest_of_states(states)
    }  # fmt: skip
    rows = (chunk(number, rows=True).embeddings for number in range(chunks))
    write_rows(out / EMBEDDINGS, rows, (len(kept), plan["dimension"]), as_metadata(facts))  # type: ignore[arg-type]
    _clear(parts)
    return len(kept), len(listed)


def _telling(
    advance: Callable[..., object] | None, parts: Path, chunks: Sequence[range], seen: set[int], processes: int
) -> Callable[..., None]:
    """Progress of all processes as the first one sees it: its own images, and the others' finished chunks.

    `seen` are the chunks that are counted already or are its own.
    """
    known, looked = set(seen), time.monotonic()

    def tell(images: int, *, now: bool = False) -> None:
        nonlocal looked
        if advance is None:
            return
        others: set[int] = set()
        if processes > 1 and (now or time.monotonic() - looked >= LOOKED_EVERY):
            looked = time.monotonic()
            names = (_CHUNK.fullmatch(name) for name in os.listdir(parts))
            others = {int(name[1]) for name in names if name} - known
            known.update(others)
        advance(images + sum(len(chunks[number]) for number in others if number < len(chunks)))

    return tell
