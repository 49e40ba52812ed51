"""An embedding job, from taking the lock to writing the final files; repeating the call resumes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crossreid.data.addresses import Address, Place, names_in, place_of
from crossreid.data.object_storage import ahead
from crossreid.data.pixel_cache import CacheChoice
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding_files import read_about
from crossreid.inference.bulk.chunks import Chunk, read_chunk, states_of, write_chunk
from crossreid.inference.bulk.embedded_chunks import EmbedChunks, Work, embedded_chunks
from crossreid.inference.bulk.finished import is_finished, join
from crossreid.inference.bulk.folder import PARTS, PLAN, chunk_path, clear, refuse_foreign, remove_temporary_files
from crossreid.inference.bulk.lock import locked
from crossreid.inference.bulk.plan import Plan, make_or_keep_plan, pins_of, read_plan, refuse_another
from crossreid.inference.bulk.progress import shared_progress
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.processes import Group

BATCH, CHUNK = 64, 1024


@dataclass(frozen=True, slots=True)
class Embedded:
    """The outcome of a job: rows in total, rows that existed before, and images left out.

    In processes other than the first the counts are 0, unless the job was already done.
    """

    folder: Place
    rows: int
    before: int
    bad: int


def embed_records(
    model: EmbeddingModel,
    records: Sequence[Record],
    out: Place | str,
    *,
    precision: Literal["auto"] | Precision = "float32",
    batch: int = BATCH,
    chunk: int = CHUNK,
    workers: int = 0,
    cache: CacheChoice | None = None,
    on_bad_image: Literal["stop", "skip"] = "stop",
    left_out: Sequence[tuple[str, str]] = (),
    group: Group | None = None,
    embedding: EmbedChunks = embedded_chunks,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Embedded:
    """Embed the records to `out`, a folder or address, or resume the job there; rows are in the records' order.

    Args:
        precision: one of the model's, or `auto`: measures which is faster here, and reports it; a resumed job keeps its
            own.
        batch: images per forward pass.
        chunk: images per chunk, the most that a kill can cost each process.
        workers: loader processes.
        cache: a store of already decoded images.
        on_bad_image: `skip` leaves out unreadable images, and lists them in bad_images.csv.
        left_out: (path, reason) of images already left out of the records, listed with the rest.
        group: the processes that share the job; each calls this with the same arguments.
        embedding: embeds the chunks left to this process; by default the process itself.
        advance: in the first process, called with (0, images) once and with numbers of images as they are done.
        say: called with single-line messages about decisions.

    Raises:
        DataError: an unreadable image; a folder that holds something other than this job, or a finished job
            whose images have changed since; the difference is named.
        OSError: the system fails to read an image or to write a file.
    """
    group = group or Group()
    if batch < 1 or chunk < batch:
        raise CrossreidError(
            f"expected a batch of at least 1 and a chunk of at least a batch, found {batch} and {chunk}."
        )
    if not records:
        raise DataError("there is no image to embed.")
    if precision != "auto":
        model.with_precision(precision)  # an unsupported one is refused before it is pinned
    pins = pins_of(model, records, precision=precision, batch=batch, chunk=chunk)
    job = _Job(
        model, records, place_of(out), pins, workers, cache, on_bad_image, left_out, group, embedding, advance, say
    )
    if group.rank == 0:
        return _lead(job)
    group.wait()  # for the plan
    with locked(job.parts, group.rank) if isinstance(job.parts, Address) or job.parts.is_dir() else nullcontext():
        return _take_part(job)


@dataclass(frozen=True, eq=False, slots=True)
class _Job:
    """What `embed_records` was called with."""

    model: EmbeddingModel
    records: Sequence[Record]
    out: Place
    pins: Mapping[str, Any]
    workers: int
    cache: CacheChoice | None
    on_bad_image: str
    left_out: Sequence[tuple[str, str]]
    group: Group
    embedding: EmbedChunks
    advance: Callable[..., object] | None
    say: Callable[[str], object]

    @property
    def parts(self) -> Place:
        return self.out / PARTS


def _lead(job: _Job) -> Embedded:
    """In the first process: check that the folder is free, plan, and then do its share."""
    refuse_foreign(job.out)
    fresh = isinstance(job.parts, Path) and not job.parts.exists()
    if isinstance(job.parts, Path):
        job.parts.mkdir(parents=True, exist_ok=True)
    with locked(job.parts, job.group.rank):
        try:
            finished = is_finished(job.out, job.pins, job.records)
        except DataError:
            if fresh:
                clear(job.parts)  # it holds only the lock
            raise
        if not finished:
            remove_temporary_files(job.out)
            make_or_keep_plan(job.parts, job.model, job.records, job.pins, job.say)
        job.group.wait()
        return _take_part(job)


def _done_before(job: _Job) -> Embedded:
    about = read_about(job.out)
    rows = int(about["rows"])
    return Embedded(job.out, rows, rows, int(about["bad"]))


def _take_part(job: _Job) -> Embedded:
    """Embed this process's chunks; the first process also joins all of them."""
    group, parts = job.group, job.parts
    if not (parts / PLAN).is_file():
        return _done_before(job)
    plan = read_plan(parts)
    pins = {key: job.pins[key] for key in ("model", "list")}
    refuse_another(parts, asdict(plan), pins, "delete that folder", job.records)
    job.model.with_precision(plan.precision)
    chunks = plan.chunks()
    there, mine = _shared_out(job, plan, chunks)
    advance = job.advance if group.rank == 0 else None
    if advance is not None:
        advance(0, plan.images)
        advance(sum(len(chunks[number]) for number in there))
    report = shared_progress(advance, parts, chunks, {*there, *mine}, group.world)
    group.wait()  # so that all see the same chunks before one is added
    work = Work(job.model, job.records, plan, mine, job.workers, job.on_bad_image == "skip", job.cache)
    if mine:
        with closing(job.embedding(work, report)) as embedded:  # leaves a cluster at once, also after an error
            for number, chunk in embedded:
                write_chunk(parts, number, plan, chunk)
    group.wait()
    if group.rank != 0:
        return Embedded(job.out, 0, 0, 0)
    report(0, now=True)
    try:
        rows, bad = join(
            job.records, job.out, plan, run=job.model.source, on_bad_image=job.on_bad_image, left_out=job.left_out,
            trained=job.model.trained, calibration=job.model.calibration,
        )  # fmt: skip
    except DataError:
        # In a store another process may have finished the same job meanwhile, and removed its chunks.
        if isinstance(job.out, Address) and is_finished(job.out, job.pins, job.records):
            return _done_before(job)
        raise
    return Embedded(job.out, rows, sum(there.values()), bad)


def _shared_out(job: _Job, plan: Plan, chunks: Sequence[range]) -> tuple[dict[int, int], dict[int, np.ndarray]]:
    """Return finished chunks with row counts (all in the first process, else its own), and those left to this process.

    The chunks left have the states of their image files, taken before any image is loaded, so that later changes are
    noticed. A finished chunk of changed images is left to be embedded again.
    """
    there: dict[int, int] = {}
    mine: dict[int, np.ndarray] = {}
    changed: list[Place] = []
    stored = _chunks_in_store(job, plan, len(chunks)) if isinstance(job.parts, Address) else None
    for number, positions in enumerate(chunks):
        own = number % job.group.world == job.group.rank
        if stored is not None:
            found = stored.get(number)
        else:
            found = read_chunk(job.parts, number, plan) if own or job.group.rank == 0 else None
        if not own and found is None:
            continue
        states = states_of([job.records[position] for position in positions])
        if found is not None:
            differ = (found.states != states).any(1)
            if not differ.any():
                there[number] = len(found.positions)
                continue
            changed.append(job.records[positions[int(differ.argmax())]].path)
        if own:
            mine[number] = states
            chunk_path(job.parts, number, plan.digest).unlink(missing_ok=True)  # else it would count as done
    if changed and job.group.rank == 0:
        job.say(f"images have changed, for example {changed[0]}; {len(changed)} chunks are embedded again")
    return there, mine


def _chunks_in_store(job: _Job, plan: Plan, count: int) -> dict[int, Chunk]:
    """Return finished chunks by number, from one listing and parallel reads, as each request to a store is slow."""
    names = set(names_in(job.parts))
    numbers = [
        number
        for number in range(count)
        if (job.group.rank == 0 or number % job.group.world == job.group.rank)
        and chunk_path(job.parts, number, plan.digest).name in names
    ]
    found = zip(numbers, ahead(lambda number: read_chunk(job.parts, number, plan), numbers), strict=True)
    return {number: chunk for number, chunk in found if chunk is not None}
