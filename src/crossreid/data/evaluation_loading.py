"""From records to batches for testing and embedding: each image unaugmented, in the requested order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossreid.data.images import load_image
from crossreid.data.loader_processes import Place, SharedBatches, as_arrays, begin, raising
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.pixel_cache import CacheChoice, Look, PixelCache, cache_of
from crossreid.data.reading_ahead import ReadingAhead
from crossreid.data.records import DataError, Record
from crossreid.data.sending import CPU, all_sent, sent_ahead
from crossreid.data.transforms import EvalTransform, Interpolation, as_planes


class _TestImages(Dataset):
    def __init__(
        self,
        records: Sequence[Record],
        transform: EvalTransform,
        skip: bool,
        plan: Sequence[Sequence[int]] = (),
        cache: PixelCache | None = None,
    ) -> None:
        self.records, self.size, self.skip = tuple(records), (transform.height, transform.width), skip
        self.transform, self.reading = transform, ReadingAhead(self.records, plan)
        self.cache, self.places = cache, () if cache is None else cache.places_of(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int] | DataError | _Unreadable:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[np.ndarray, int, int] | DataError | _Unreadable]:
        contents = self.reading.batch(indices)
        return [self._loaded(index, content) for index, content in zip(indices, contents, strict=True)]

    def _loaded(
        self, index: int, content: Future[bytes] | None
    ) -> tuple[np.ndarray, int, int] | DataError | _Unreadable:
        record = self.records[index]
        kept = None if self.cache is None else self.cache.at(self.places[index])
        if kept is not None:
            return as_planes(kept), int(record.modality), index
        try:
            read = None if content is None else content.result()
            pixels = load_image(record, at_least=self.size, content=read)
            return as_planes(self.transform.resized(pixels)), int(record.modality), index
        except DataError as error:
            return _Unreadable(index, str(error)) if self.skip else error


class _Unreadable(NamedTuple):
    position: int
    reason: str


class EvaluationBatch(NamedTuple):
    """Images `(B, 3, H, W)`, their modalities and positions among the records `(B,)`.

    `bad` are (position, reason) of unreadable images.
    """

    images: Tensor
    modalities: Tensor
    positions: Tensor
    bad: list[tuple[int, str]]


class _Loaded(NamedTuple):
    """A batch whose images are bytes in a slot of shared memory; None if there are none."""

    place: Place | Tensor | None
    modalities: Tensor
    positions: Tensor
    bad: list[tuple[int, str]]


def _collate(shared: SharedBatches, samples: list[Any]) -> Any:
    """Return a `_Loaded` as arrays, or the first error."""
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    bad = [(sample.position, sample.reason) for sample in samples if isinstance(sample, _Unreadable)]
    kept = [sample for sample in samples if not isinstance(sample, _Unreadable)]
    if not kept:
        return _Loaded(None, torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long), bad)
    images, modalities, positions = zip(*kept, strict=True)
    return as_arrays(_Loaded(shared.put(images), torch.tensor(modalities), torch.tensor(positions), bad))


def evaluation_batches(
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    batch: int = 64,
    workers: int = 0,
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    device: torch.device = CPU,
    cache: CacheChoice | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches (images `(B, 3, H, W)`, modalities `(B,)`) of the records in order; a bad image is an error that
    names it.
    """
    loaded = readable_batches(
        records, height=height, width=width, batch=batch, workers=workers, interpolation=interpolation,
        normalisation=normalisation, skip=False, device=device, cache=cache,
    )  # fmt: skip
    return ((images, modalities) for images, modalities, _ in loaded)


def readable_batches(
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    batch: int = 64,
    workers: int = 0,
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    skip: bool = True,
    device: torch.device = CPU,
    cache: CacheChoice | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield batches (images, modalities, positions among the records), with `skip` leaving out unreadable images."""
    plan = [range(first, min(first + batch, len(records))) for first in range(0, len(records), batch)]
    loaded = planned_batches(
        records, plan, height=height, width=width, workers=workers, interpolation=interpolation,
        normalisation=normalisation, skip=skip, device=device, cache=cache,
    )  # fmt: skip
    return ((batch.images, batch.modalities, batch.positions) for batch in loaded)


def planned_batches(
    records: Sequence[Record],
    plan: Sequence[Sequence[int]],
    *,
    height: int,
    width: int,
    workers: int = 0,
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    skip: bool = False,
    device: torch.device = CPU,
    cache: CacheChoice | None = None,
) -> Iterator[EvaluationBatch]:
    """Yield the batches of positions among the records that `plan` lists, in its order, all from the same workers.

    Workers pass bytes, which are normalised where the network is: on a GPU given as `device`, images and modalities are
    then there. With `skip`, an unreadable image is left out of its batch and listed in `bad`; otherwise it raises a
    `DataError` that names it.
    """
    look = Look(height, width, interpolation)
    wanted = (records[position] for position in sorted({position for positions in plan for position in positions}))
    kept = cache_of(wanted, cache, look)
    where = device if device.type == "cuda" else CPU
    shared = SharedBatches(workers, max(map(len, plan), default=0), (3, height, width))
    shared.lay_out()
    loader: DataLoader = DataLoader(
        _TestImages(records, EvalTransform(height, width, interpolation, normalisation), skip, plan, kept),
        batch_sampler=[list(positions) for positions in plan],
        num_workers=workers,
        collate_fn=partial(_collate, shared),
        worker_init_fn=begin,
        generator=torch.Generator(),
    )

    def made(loaded: _Loaded) -> EvaluationBatch:
        place, modalities, positions, bad = loaded
        if place is None:
            return EvaluationBatch(torch.empty(0), modalities, positions, bad)
        images, modalities = all_sent((shared.get(place), modalities), where)
        return EvaluationBatch(normalisation.of_batch(images), modalities, positions, bad)

    return sent_ahead(raising(loader), made, where)
