"""Embedding a process's remaining chunks one after the other, in that process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.pixel_cache import CacheChoice
from crossreid.data.records import DataError, Record
from crossreid.data.sending import CPU
from crossreid.inference.bulk.chunks import Chunk
from crossreid.inference.bulk.plan import Plan
from crossreid.inference.embedding_model import EmbeddingModel

Report = Callable[[int], None]


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """A process's remaining work: `mine` are its chunks by number, with the states of their image files."""

    model: EmbeddingModel
    records: Sequence[Record]
    plan: Plan
    mine: Mapping[int, np.ndarray]
    workers: int
    skip: bool
    cache: CacheChoice | None = None

    def batches(self) -> list[tuple[int, range]]:
        """Return (chunk number, positions of its images) per batch, in order."""
        chunks = self.plan.chunks()
        return [
            (number, chunks[number][first : first + self.plan.batch])
            for number in self.mine
            for first in range(0, len(chunks[number]), self.plan.batch)
        ]


EmbedChunks = Callable[[Work, Report], Generator[tuple[int, Chunk], None, None]]


def embedded_chunks(work: Work, report: Report) -> Generator[tuple[int, Chunk], None, None]:
    """Yield the chunks with their numbers; the same loader processes serve all batches. `report` takes images done."""
    plan, seen = work.plan, work.model.preprocessing
    chunks, batches = plan.chunks(), work.batches()
    loaded = planned_batches(
        work.records, [positions for _, positions in batches], height=seen.height, width=seen.width,
        workers=work.workers, interpolation=seen.interpolation, normalisation=seen.normalisation, skip=work.skip,
        device=work.model.device if work.model.runtime == "torch" else CPU, cache=work.cache,
    )  # fmt: skip
    rows: list[np.ndarray] = []
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    for (number, planned), (images, modalities, positions, unreadable) in zip(batches, loaded, strict=True):
        if len(positions):
            rows.append(work.model.embed(images, modalities).numpy())
            kept += positions.tolist()
        bad += unreadable
        if planned[-1] == chunks[number][-1]:
            yield number, chunk_of(work, number, rows, kept, bad)
            rows, kept, bad = [], [], []
        report(len(planned))


def chunk_of(
    work: Work, number: int, rows: Sequence[np.ndarray], kept: Sequence[int], bad: list[tuple[int, str]]
) -> Chunk:
    """Return a finished chunk made of its batches' rows. Raises `DataError` if a row is not finite."""
    embeddings = np.concatenate(rows) if rows else np.empty((0, work.plan.dimension), np.float32)
    wrong = ~np.isfinite(embeddings).all(1)
    if wrong.any():
        raise DataError(
            f"{work.records[kept[int(wrong.argmax())]].path}: its embedding is not finite. "
            "Embed with --precision float32, or check the model."
        )
    return Chunk(np.array(kept, dtype=np.int64), bad, work.mine[number], embeddings)
