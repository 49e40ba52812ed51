"""A job of embedding, from its first process taking the lock to the files being there; the same call goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding_files import read_about
from crossreid.inference.bulk.chunks import Chunk, read_chunk, states_of, write_chunk
from crossreid.inference.bulk.finished import is_finished, join
from crossreid.inference.bulk.folder import PARTS, PLAN, chunk_path, clear, refuse_foreign, remove_temporary_files
from crossreid.inference.bulk.lock import locked
from crossreid.inference.bulk.plan import Plan, make_or_keep_plan, pins_of, read_plan, refuse_another
from crossreid.inference.bulk.progress import shared_progress
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.processes import Group

BATCH, CHUNK = 64, 1024


@dataclass(frozen=True, slots=True)
class Embedded:
    """How a job ended: rows in all, those of them that were there before, images that were left out.

    Of another process than the first the counts are 0, unless the job was done before.
    """

    folder: Path
    rows: int
    before: int
    bad: int


def embed_records(
    model: EmbeddingModel,
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
        batch: images of a forward pass.
        chunk: images of a chunk, what a kill can cost each process at most.
        workers: loader processes.
        on_bad_image: `skip` leaves an image that cannot be read out, and lists it in bad_images.csv.
        left_out: (path, reason) of what was left out of the records already, listed with the rest.
        group: the processes that do this together; each calls it with the same arguments.
        advance: of the first process, called with (0, images) once and with images as they are done.
        say: called with one line about what was decided.

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
    pins = pins_of(model, records, precision=precision, batch=batch, chunk=chunk)
    job = _Job(model, records, Path(out), pins, workers, on_bad_image, left_out, group, advance, say)
    if group.rank == 0:
        return _lead(job)
    group.wait()  # for the plan
    with locked(job.parts, group.rank) if job.parts.is_dir() else nullcontext():
        return _take_part(job)


@dataclass(frozen=True, eq=False, slots=True)
class _Job:
    """What `embed_records` was called with."""

    model: EmbeddingModel
    records: Sequence[Record]
    out: Path
    pins: Mapping[str, Any]
    workers: int
    on_bad_image: str
    left_out: Sequence[tuple[str, str]]
    group: Group
    advance: Callable[..., object] | None
    say: Callable[[str], object]

    @property
    def parts(self) -> Path:
        return self.out / PARTS


def _lead(job: _Job) -> Embedded:
    """The first process: sees that the folder is free, plans, and then does its share."""
    refuse_foreign(job.out)
    fresh = not job.parts.exists()
    job.parts.mkdir(parents=True, exist_ok=True)
    with locked(job.parts, job.group.rank):
        try:
            finished = is_finished(job.out, job.pins, job.records)
        except DataError:
            if fresh:
                clear(job.parts)  # it held the lock only
            raise
        if not finished:
            remove_temporary_files(job.out)
            make_or_keep_plan(job.parts, job.model, job.records, job.pins, job.say)
        job.group.wait()
        return _take_part(job)


def _take_part(job: _Job) -> Embedded:
    """This process's chunks; of the first process also the joining of all."""
    group, parts = job.group, job.parts
    if not (parts / PLAN).is_file():
        about = read_about(job.out)
        rows = int(about["rows"])
        return Embedded(job.out, rows, rows, int(about["bad"]))
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
    group.wait()  # all have seen the same chunks before one is added
    for number, chunk in _embedded_chunks(job, plan, chunks, mine, report):
        write_chunk(parts, number, plan, chunk)
    group.wait()
    if group.rank != 0:
        return Embedded(job.out, 0, 0, 0)
    report(0, now=True)
    rows, bad = join(
        job.records, job.out, plan, run=job.model.source, on_bad_image=job.on_bad_image, left_out=job.left_out,
        trained=job.model.trained, calibration=job.model.calibration,
    )  # fmt: skip
    return Embedded(job.out, rows, sum(there.values()), bad)


def _shared_out(job: _Job, plan: Plan, chunks: Sequence[range]) -> tuple[dict[int, int], dict[int, np.ndarray]]:
    """Finished chunks with their rows (the first process sees all, others their own), and what is left to this process.

    What is left has the states of its images' files, taken before any of them is loaded: one that is changed meanwhile is
    then seen to be changed. A finished chunk of changed images is left to its process again.
    """
    there: dict[int, int] = {}
    mine: dict[int, np.ndarray] = {}
    changed: list[Path] = []
    for number, positions in enumerate(chunks):
        own = number % job.group.world == job.group.rank
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
            chunk_path(job.parts, number).unlink(missing_ok=True)  # not to be counted as done
    if changed and job.group.rank == 0:
        job.say(f"images were changed, {changed[0]} for example; {len(changed)} chunks are embedded again")
    return there, mine


def _embedded_chunks(
    job: _Job, plan: Plan, chunks: Sequence[range], mine: Mapping[int, np.ndarray], report: Callable[[int], None]
) -> Iterator[tuple[int, Chunk]]:
    """The chunks of this process one after the other, by their number; all batches by the same loader processes."""
    batches = [
        (number, chunks[number][first : first + plan.batch])
        for number in mine
        for first in range(0, len(chunks[number]), plan.batch)
    ]
    seen = job.model.preprocessing
    loaded = planned_batches(
        job.records, [positions for _, positions in batches], height=seen.height, width=seen.width,
        workers=job.workers, interpolation=seen.interpolation, normalisation=seen.normalisation,
        skip=job.on_bad_image == "skip",
    )  # fmt: skip
    rows: list[np.ndarray] = []
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    for (number, planned), (images, modalities, positions, unreadable) in zip(batches, loaded, strict=True):
        if len(positions):
            rows.append(job.model.embed(images, modalities).numpy())
            kept += positions.tolist()
        bad += unreadable
        if planned[-1] == chunks[number][-1]:
            embeddings = np.concatenate(rows) if rows else np.empty((0, plan.dimension), np.float32)
            _refuse_not_finite(embeddings, job.records, kept)
            yield number, Chunk(np.array(kept, dtype=np.int64), bad, mine[number], embeddings)
            rows, kept, bad = [], [], []
        report(len(planned))


def _refuse_not_finite(embeddings: np.ndarray, records: Sequence[Record], positions: Sequence[int]) -> None:
    wrong = ~np.isfinite(embeddings).all(1)
    if wrong.any():
        raise DataError(
            f"{records[positions[int(wrong.argmax())]].path}: its embedding is not finite. "
            "Embed with --precision float32, or look at the model."
        )
