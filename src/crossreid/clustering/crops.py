"""What is clustered: crops with their embeddings and what is known of each, out of a folder of embeddings or of a gallery.

Crops are kept in the order of their ids, whatever order they came in, so that the same crops make the same clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from crossreid.data.addresses import Place
from crossreid.data.records import DataError, Modality, Record
from crossreid.evaluation.embedding_files import Embeddings, read_embeddings
from crossreid.galleries.fragments import Box, path_and_box, source_of
from crossreid.galleries.gallery import Gallery
from crossreid.galleries.values import unit_rows

_BLOCK = 65_536
T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Crops:
    """N crops in the order of their ids.

    embeddings `(N, D)` float32 of length 1; ids N texts, each there once: a picture's path with its box as a fragment, or an
    entry's id; paths N texts, '' where unknown, and boxes N of (left, top, right, bottom) or None; identities and tracklets
    N texts or None; cameras `(N,)` int64, 0 where unknown; modalities `(N,)` int64; times `(N,)` float64, seconds since 1970
    UTC, NaN where unknown; frames `(N,)` int64, -1 where unknown. `model` is the fingerprint of what embedded them, `run`
    where it lay, None where nothing says so.
    """

    embeddings: np.ndarray
    ids: list[str]
    paths: list[str]
    boxes: list[Box | None]
    identities: list[str | None]
    tracklets: list[str | None]
    cameras: np.ndarray
    modalities: np.ndarray
    times: np.ndarray
    frames: np.ndarray
    model: str
    run: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def record(self, row: int, identity: str = "") -> Record:
        """A crop as a record of that identity."""
        time = float(self.times[row])
        return Record(
            Path(self.paths[row]), identity, int(self.cameras[row]), Modality(int(self.modalities[row])),
            tracklet=self.tracklets[row], frame=int(self.frames[row]), box=self.boxes[row],
            time=None if np.isnan(time) else time,
        )  # fmt: skip


def crops_of_folder(folder: Place) -> Crops:
    """What `crossreid embed` wrote into a folder or below an address. Raises as `read_embeddings` and `crops_of_embeddings`."""
    return crops_of_embeddings(read_embeddings(folder))


def crops_of_embeddings(found: Embeddings) -> Crops:
    """Embeddings as crops. Raises `DataError` where there is none, one is there twice, or an embedding is all zeros."""
    boxes: list[Box | None] = found.boxes.tolist()
    ids = list(map(source_of, found.paths.tolist(), boxes))
    order = _order(ids)
    run = found.about.get("run")
    return Crops(
        _sorted_units(found.embeddings, order), _taken(ids, order), _taken(found.paths.tolist(), order),
        _taken(boxes, order), [text or None for text in _taken(found.identities.tolist(), order)],
        [text or None for text in _taken(found.tracklets.tolist(), order)], found.cameras[order], found.modalities[order],
        found.times[order], found.frames[order], found.fingerprint, Path(run) if run else None,
    )  # fmt: skip


def crops_of_gallery(gallery: Gallery, advance: Callable[..., object] | None = None) -> Crops:
    """The entries of a gallery as crops; which picture each is of, its source says, or else its id.

    A gallery keeps no tracklets and no frames. `advance(done, total)` is called as entries are read.
    Raises `DataError` where it is empty.
    """
    ids: list[str] = []
    sources: list[str] = []
    identities: list[str | None] = []
    columns: list[tuple[np.ndarray, ...]] = []
    rows = np.empty((len(gallery), gallery.dimension), np.float32)
    for part in gallery.batches():
        if len(ids) + len(part) > len(rows):  # written to meanwhile
            rows = np.concatenate([rows[: len(ids)], np.empty((len(ids) + len(part), gallery.dimension), np.float32)])
        rows[len(ids) : len(ids) + len(part)] = part.embeddings
        ids += part.ids
        sources += part.sources
        identities += part.identities
        columns.append((part.cameras, part.modalities, part.times))
        if advance is not None:
            advance(len(part), len(gallery))
    order = _order(ids)
    cameras, modalities, times = (np.concatenate(each)[order] for each in zip(*columns, strict=True))
    pictures = [path_and_box(source or name) for source, name in zip(sources, ids, strict=True)]
    return Crops(
        _sorted_units(rows, order), _taken(ids, order), _taken([path for path, _ in pictures], order),
        _taken([box for _, box in pictures], order), _taken(identities, order), [None] * len(ids), cameras, modalities,
        times, np.full(len(ids), -1), gallery.model, gallery.run(),
    )  # fmt: skip


def _order(ids: Sequence[str]) -> np.ndarray:
    """The positions of ids in their order. Raises `DataError` where there is none, or one is there twice."""
    if not ids:
        raise DataError("there is nothing to cluster: expected one embedding or more, found none.")
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    for one, other in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if ids[one] == ids[other]:
            raise DataError(
                f"{ids[one]} is embedded twice; expected each image once. Embed a list without repetitions."
            )
    return order


def _taken(values: Sequence[T], order: np.ndarray) -> list[T]:
    return [values[row] for row in order.tolist()]


def _sorted_units(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Unit rows in an order, block by block: of a million rows there are two copies at most."""
    units = np.empty((len(order), rows.shape[1]), np.float32)
    for start in range(0, len(order), _BLOCK):
        units[start : start + _BLOCK] = unit_rows(rows[order[start : start + _BLOCK]])
    return units
