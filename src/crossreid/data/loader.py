"""From records to batches, with several workers, the same for any number of them.

What is done to the sample at a place of an epoch depends on (seed, epoch, place) alone, so neither the number of
workers nor a restart in the middle of an epoch changes a batch.
"""

from __future__ import annotations

import functools
import signal
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossreid.data.images import load_image
from crossreid.data.records import DataError, Record, labels_of
from crossreid.data.samplers import IdentitySampler, SamplerOptions
from crossreid.data.transforms import EvalTransform, TrainTransform
from crossreid.options import Options


class AugmentOptions(Options):
    flip: float = Field(0.5, ge=0, le=1, description="Probability of a horizontal flip.")
    pad: int = Field(10, ge=0, description="Pixels of padding before a random crop; 0 for none.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability of erasing a random rectangle.")
    grey: float = Field(0.0, ge=0, le=1, description="Probability of turning a visible image grey.")
    jitter: float = Field(0.0, ge=0, le=1, description="Strength of brightness, contrast and saturation jitter.")
    pseudo_infrared: float = Field(
        0.0, ge=0, le=1, description="Probability of turning a visible image into pseudo-infrared."
    )


class DataOptions(Options):
    name: str = Field(description="Data set: sysu-mm01, regdb, llcm or manifest.")
    root: Path = Field(description="Folder of the data set, relative to where the command runs.")
    options: dict[str, Any] = Field({}, description="Options of that data set's reader (docs/datasets.md).")
    height: int = Field(256, ge=16, le=2048, description="Height of network input, pixels.")
    width: int = Field(128, ge=16, le=2048, description="Width of network input, pixels.")
    workers: int = Field(4, ge=0, le=256, description="Loader processes; 0 loads in the training process.")
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop", description="`skip` replaces an unreadable training image by another of its identity, and counts it."
    )
    augment: AugmentOptions = Field(AugmentOptions(), description="What is done to training images.")
    sampler: SamplerOptions = Field(SamplerOptions(), description="How batches are composed.")


class Batch(NamedTuple):
    """A training batch: images `(B, 3, H, W)` float32; labels, modalities, cameras `(B,)` int64."""

    images: Tensor
    labels: Tensor
    modalities: Tensor
    cameras: Tensor


class TrainLoader:
    """Batches of an epoch, by (epoch, first step); `bad_images` collects the files that were skipped."""

    def __init__(
        self, records: Sequence[Record], options: DataOptions, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.sampler = IdentitySampler(records, options.sampler, seed=seed, rank=rank, world=world)
        self.classes = len(labels_of(records))
        self.bad_images: set[str] = set()
        self._plan = _Plan()
        share = options.sampler.identities * options.sampler.images // world
        self._first_place = rank * share
        self._loader: DataLoader = DataLoader(
            _TrainImages(records, options, seed),
            batch_sampler=self._plan,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            collate_fn=_collate,
            worker_init_fn=_leave_signals,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # of its own: loading must not advance the one that training draws from
        )
        self._share, self._world = share, world

    def __len__(self) -> int:
        return self.sampler.steps

    def __call__(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """This process's batches of `epoch`, from step `first_step` on."""
        plan = []
        for step, indices in enumerate(self.sampler.epoch(epoch)):
            first = step * self._share * self._world + self._first_place
            plan.append([(epoch, first + i, int(index)) for i, index in enumerate(indices)])
        self._plan.batches = plan[first_step:]
        for batch, bad in _raising(self._loader):
            for path in bad:
                if path not in self.bad_images:
                    self.bad_images.add(path)
                    warnings.warn(f"skipped unreadable image: {path}", stacklevel=2)
            yield batch


class _Plan:
    """The batch sampler of the loader: what `batches` holds when an epoch starts."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _TrainImages(Dataset):
    def __init__(self, records: Sequence[Record], options: DataOptions, seed: int) -> None:
        self.records, self.seed = tuple(records), seed
        self.skip = options.on_bad_image == "skip"
        self.size = (options.height, options.width)
        self.transform = TrainTransform(options.height, options.width, **options.augment.model_dump())
        self.labels = labels_of(records)

    @functools.cached_property
    def alike(self) -> dict[tuple[str, int], list[int]]:
        """Indices of the images of each (identity, modality)."""
        groups = defaultdict(list)
        for index, record in enumerate(self.records):
            groups[record.identity, int(record.modality)].append(index)
        return groups

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[Tensor, int, int, int, list[str]] | DataError:
        epoch, place, index = key
        # From 1 on: a trailing 0 would give the generator that the sampler planned the epoch with.
        generator = np.random.default_rng((self.seed, epoch, place + 1))
        try:
            image, record, bad = self._readable(index)
        except DataError as error:
            return error
        tensor = self.transform(image, generator, record.modality)
        return tensor, self.labels[record.identity], int(record.modality), record.camera, bad

    def _readable(self, index: int) -> tuple[np.ndarray, Record, list[str]]:
        record = self.records[index]
        try:
            return load_image(record, at_least=self.size), record, []
        except DataError:
            if not self.skip:
                raise
        group = self.alike[record.identity, int(record.modality)]
        start = group.index(index)
        bad = [str(record.path)]
        for other in group[start + 1 :] + group[:start]:
            try:
                return load_image(self.records[other], at_least=self.size), self.records[other], bad
            except DataError:
                bad.append(str(self.records[other].path))
        raise DataError(
            f"identity {record.identity!r}: none of its {len(group)} {record.modality.name.lower()} training images "
            f"can be read ({bad[0]}, ...). Run `crossreid check DATASET ROOT --deep` and remove what it names."
        )


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one decides, and needs the batches under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collate(samples: list[Any]) -> tuple[Batch, list[str]] | DataError:
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    images, labels, modalities, cameras, bad = zip(*samples, strict=True)
    batch = Batch(torch.stack(images), torch.tensor(labels), torch.tensor(modalities), torch.tensor(cameras))
    return batch, [path for paths in bad for path in paths]


def _raising(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives; an error that a worker handed on is raised here, without that worker's traceback in it."""
    for loaded in loader:
        if isinstance(loaded, DataError):
            # A new one: raising `loaded` itself ties this frame, and the workers it holds, into a cycle that ends late.
            raise DataError(*loaded.args)
        yield loaded


class _TestImages(Dataset):
    def __init__(self, records: Sequence[Record], height: int, width: int) -> None:
        self.records, self.size, self.transform = tuple(records), (height, width), EvalTransform(height, width)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        record = self.records[index]
        try:
            return self.transform(load_image(record, at_least=self.size)), int(record.modality)
        except DataError as error:
            return error


def _collate_test(samples: list[Any]) -> tuple[Tensor, Tensor] | DataError:
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    images, modalities = zip(*samples, strict=True)
    return torch.stack(images), torch.tensor(modalities)


def evaluation_batches(
    records: Sequence[Record], *, height: int, width: int, batch: int = 64, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (images `(B, 3, H, W)`, modalities `(B,)`) of the records in their order; a bad image stops it, named."""
    loader: DataLoader = DataLoader(
        _TestImages(records, height, width),
        batch_size=batch,
        num_workers=workers,
        collate_fn=_collate_test,
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),
    )
    return _raising(loader)
