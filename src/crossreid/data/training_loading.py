"""From records to training batches, identical for any number of workers.

What happens to the sample at a position of an epoch depends only on (seed, epoch, position), so neither the number of
workers nor a restart in the middle of an epoch changes a batch.
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossreid.data.batch import Batch
from crossreid.data.channels import BatchTransform, channel_transforms
from crossreid.data.composition import composition_of_sets
from crossreid.data.data_options import DataOptions
from crossreid.data.distortions import distortions
from crossreid.data.images import load_image
from crossreid.data.joint_channels import joint_channels
from crossreid.data.loader_processes import Place, SharedBatches, as_arrays, begin, raising
from crossreid.data.network_input import NetworkInput, Table, table_of
from crossreid.data.pixel_cache import PixelCache, cache_of
from crossreid.data.records import DataError, Modality, Record, labels_of
from crossreid.data.sampling import IdentitySampler, by_modality
from crossreid.data.sending import CPU, all_sent, sent_ahead
from crossreid.data.source_sampling import SourceSampler
from crossreid.data.tracklets import (
    across_cameras,
    across_tracklets,
    at_random,
    first_of_each_chunk,
    one_of_each_chunk,
    tracklet_name,
    tracklets_of,
)
from crossreid.data.transforms import Drawn, TrainTransform


class TrainLoader:
    """Yields the batches of an epoch from a first step on; `bad_images` collects the skipped files."""

    def __init__(
        self,
        records: Sequence[Record],
        options: DataOptions,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self._device = device if device.type == "cuda" else CPU  # to other devices, the loop sends what was made here
        self._images = images = _TrainImages(records, options, seed, on_host=self._device == CPU)
        size, both = (options.height, options.width), 2 if options.augment.channels.joint else 1
        self._shared = SharedBatches(
            options.loaders,
            both * options.sets.size * options.sampler.identities * options.sampler.images // world,
            (3, *size) if self._device == CPU else (*size, 3),
        )
        shared: dict[str, Any] = {"seed": seed, "rank": rank, "world": world}
        self.sampler: IdentitySampler | SourceSampler = (
            SourceSampler(images.items, options.sampler, options.sources, mixing=options.mixing, **shared)
            if options.sources
            else IdentitySampler(images.items, options.sampler, **shared)
        )
        self.classes = len(labels_of(records))
        self.bad_images: set[str] = set()
        self._plan = _Plan()
        share = options.sampler.identities * options.sampler.images // world
        self._first_position = rank * share
        self._loader: DataLoader = DataLoader(
            images,
            batch_sampler=self._plan,
            num_workers=options.loaders,
            persistent_workers=options.loaders > 0,
            collate_fn=partial(_collate, self._shared),
            worker_init_fn=begin,
            generator=torch.Generator(),  # a separate one: loading must not advance the generator of training
        )
        self._share, self._world = share, world
        self._seed, self._rank = seed, rank
        self._input = NetworkInput(list(images.transforms.values()))
        self._channels = channel_transforms(options.augment.channels, options.normalisation)
        self._distortions = distortions(options.augment.distortions, options.normalisation)
        self._joint = options.augment.channels if options.augment.channels.joint else None
        if self._joint is not None and options.sets.size > 1:
            raise DataError(
                f"data.augment.channels.joint uses single images twice, but data.sets.size is {options.sets.size}. Set it to 1."
            )
        self._visible = [record.modality == Modality.VISIBLE for record in images.items]

    def __len__(self) -> int:
        """Return the number of batches in an epoch; in the first one, if epochs differ."""
        return self.steps_in(0)

    def steps_in(self, epoch: int) -> int:
        """Return the number of batches in `epoch`."""
        return self.sampler.steps_in(epoch)

    def prepare(self, *, shown: bool = True) -> None:
        """Create or complete the recipe's cache, with a progress bar if `shown`; once, before anything is loaded.

        Raises as `pixel_cache.cache_of`.
        """
        self._images.open_cache(shown=shown)
        self._shared.lay_out()

    def __call__(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield this process's batches of `epoch`, from step `first_step` on."""
        plan = []
        for step, indices in enumerate(self.sampler.epoch(epoch)):
            first = step * self._share * self._world + self._first_position
            samples = [(epoch, first + i, int(index)) for i, index in enumerate(indices)]
            if self._joint is not None:
                # The second versions, at positions that no first version has, so that they have their own draws.
                after = self.steps_in(epoch) * self._share * self._world
                samples += [(epoch, after + at, index) for _, at, index in samples if self._visible[index]]
            plan.append(samples)
        self._plan.batches = plan[first_step:]
        self.prepare(shown=False)
        steps = itertools.count(first_step)

        def made(loaded: _Loaded) -> Batch:
            step = next(steps)
            return self._with_channels(self._distorted(self._as_input(loaded), epoch, step), epoch, step)

        yield from sent_ahead(self._warned(raising(self._loader)), made, self._device)

    def _warned(self, batches: Iterable[_Loaded]) -> Iterator[_Loaded]:
        """Yield the batches, with a warning the first time that a file is skipped."""
        for loaded in batches:
            for path in loaded.bad:
                if path not in self.bad_images:
                    self.bad_images.add(path)
                    warnings.warn(f"skipped unreadable image: {path}", stacklevel=2)
            yield loaded

    def _as_input(self, loaded: _Loaded) -> Batch:
        """Turn a batch of bytes into one of network input, on the device."""
        batch, table, pixels = loaded.batch, loaded.table, self._shared.get(loaded.place)
        if self._device == CPU:
            images = self._input.on_host(pixels, table)
        else:
            batch, table, pixels = all_sent((batch, table, pixels), self._device)
            images = self._input.on_device(pixels, table)
        return batch._replace(images=images.unflatten(0, batch.modalities.shape))

    def _distorted(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Return the distorted batch, by a draw that depends only on (seed, epoch, step, rank)."""
        if not self._distortions.transforms:
            return batch
        return _transformed(batch, self._distortions, np.random.default_rng((self._seed, epoch, step, self._rank, 2)))

    def _with_channels(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Return the batch with augmented channels, by a draw that depends only on (seed, epoch, step, rank)."""
        if not self._channels.transforms and self._joint is None:
            return batch
        generator = np.random.default_rng((self._seed, epoch, step, self._rank, 1))
        if self._joint is not None:
            copies, erasing = len(batch.images) - self._share, self._joint.erasing
            images = joint_channels(batch.images, batch.modalities, copies, generator, erasing=erasing)
            return batch._replace(images=images)
        return _transformed(batch, self._channels, generator)


def _transformed(batch: Batch, transform: BatchTransform, generator: np.random.Generator) -> Batch:
    """Return the batch with all images, also those of sets, passed through a transform of whole batches."""
    images = transform(batch.images.flatten(0, -4), batch.modalities.flatten(), generator)
    return batch._replace(images=images.unflatten(0, batch.images.shape[:-3]))


class _Plan:
    """The batch sampler of the loader: yields the `batches` set when an epoch starts."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _TrainImages(Dataset):
    """Training samples by (epoch, position, item). An item is an image, or the tracklet that a set is drawn for."""

    def __init__(self, records: Sequence[Record], options: DataOptions, seed: int, *, on_host: bool = True) -> None:
        self.on_host = on_host  # whether draws are applied here, or on the device
        self.records, self.seed, self.sets = tuple(records), seed, options.sets
        self.skip = options.on_bad_image == "skip"
        self.size, self.look, self.choice = (options.height, options.width), options.look, options.cached
        self.cache: PixelCache | None = None
        self.places: Sequence[tuple[int, int] | None] = ()
        self.domains = {source.called: place for place, source in enumerate(options.sources)}
        each = {name: options.of_source(name) for name in self.domains} or {"": options}
        self.transforms = {name: _train_transform(own) for name, own in each.items()}
        self.unbalanced = {
            name
            for name, own in each.items()
            if not by_modality((record for record in records if name in ("", record.source)), own.sampler.balance)
        }
        self.labels = labels_of(records)
        self.items, self.members = self.records, [np.array([index]) for index in range(len(self.records))]
        if self.sets.size > 1 or self.sets.items == "tracklets":
            positions = {record: index for index, record in enumerate(self.records)}
            tracklets = tracklets_of(self.records)
            self.items = tuple(tracklet.frames[0] for tracklet in tracklets)
            self.members = [np.array([positions[frame] for frame in tracklet.frames]) for tracklet in tracklets]
        self.films: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        for first, frames in zip(self.items, self.members, strict=True):
            self.films[first.identity, int(first.modality)].append(frames)
        self.alike: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, record in enumerate(self.records):
            self.alike[record.identity, int(record.modality)].append(index)

    def open_cache(self, *, shown: bool) -> None:
        """Open the cache before starting the processes that use it."""
        if self.cache is None and self.choice is not None:
            self.cache = cache_of(self.records, self.choice, self.look, shown=shown)
            self.places = [] if self.cache is None else self.cache.places_of(self.records)

    def _loaded(self, index: int) -> np.ndarray:
        kept = None if self.cache is None else self.cache.at(self.places[index])
        return load_image(self.records[index], at_least=self.size) if kept is None else kept

    def __getitem__(self, key: tuple[int, int, int]) -> _Sample | DataError:
        epoch, position, item = key
        # From 1: a trailing 0 would give the generator with which the sampler planned the epoch.
        generator = np.random.default_rng((self.seed, epoch, position + 1))
        images, drawn, seen, bad = [], [], [], []
        try:
            for index in self._drawn(item, generator):
                image, record, unreadable = self._readable(int(index))
                transform = self.transforms[record.source]
                pixels, what = transform.drawn(image, generator, record.modality)
                images.append(transform.as_drawn(pixels, what) if self.on_host else pixels)
                drawn.append(what)
                seen.append(record)
                bad += unreadable
        except DataError as error:
            return error
        modalities, cameras = [int(record.modality) for record in seen], [record.camera for record in seen]
        of = self.items[item]
        label, domain = self.labels[of.identity], self.domains.get(of.source, 0)
        return _Sample(images, drawn, label, modalities, cameras, domain, bad)

    def _drawn(self, item: int, generator: np.random.Generator) -> np.ndarray:
        """Return the records of one sample, in random order for a set."""
        count, members = self.sets.size, self.members[item]
        if count == 1:
            return members if len(members) == 1 else members[generator.integers(len(members), size=1)]
        if self.sets.source == "tracklet":
            if self.sets.draw == "random":
                return members[at_random(len(members), count, generator)]
            chunks = first_of_each_chunk if self.sets.draw == "padded_chunks" else one_of_each_chunk
            return members[generator.permutation(chunks(len(members), count, generator))]
        of = self.items[item]
        kinds = Modality if of.source in self.unbalanced else (of.modality,)
        if self.sets.source == "tracklets":
            films = [film for kind in kinds for film in self.films.get((of.identity, int(kind)), ())]
            return across_tracklets(films, count, generator)
        group = [index for kind in kinds for index in self.alike.get((of.identity, int(kind)), ())]
        if self.sets.source == "identity":
            return np.array(group)[at_random(len(group), count, generator)]
        cameras: dict[int, list[int]] = defaultdict(list)
        for index in group:
            cameras[self.records[index].camera].append(index)
        return across_cameras([np.array(cameras[camera]) for camera in sorted(cameras)], count, generator)

    def _readable(self, index: int) -> tuple[np.ndarray, Record, list[str]]:
        """Return an image or, if it is unreadable and that is allowed, the next of its tracklet, then identity."""
        record = self.records[index]
        try:
            return self._loaded(index), record, []
        except DataError:
            if not self.skip:
                raise
        group = self.alike[record.identity, int(record.modality)]
        start = group.index(index)
        others = group[start + 1 :] + group[:start]
        if record.tracklet is not None:
            own = tracklet_name(record)
            others.sort(key=lambda other: tracklet_name(self.records[other]) != own)
        bad = [str(record.path)]
        for other in others:
            try:
                return self._loaded(other), self.records[other], bad
            except DataError:
                bad.append(str(self.records[other].path))
        raise DataError(
            f"identity {record.identity!r}: none of its {len(group)} {record.modality.name.lower()} training images "
            f"can be read ({bad[0]}, ...). Run `crossreid check DATASET ROOT --deep` and remove what it names."
        )


def _train_transform(options: DataOptions) -> TrainTransform:
    augmented = options.augment.model_dump(exclude={"channels", "distortions"}) | {
        "rectangle": options.augment.rectangle
    }
    return TrainTransform(
        options.height,
        options.width,
        interpolation=options.resizing,
        normalisation=options.normalisation,
        **augmented,
    )


class _Sample(NamedTuple):
    """The images of a sample as bytes, `(3, H, W)` each, or `(H, W, 3)` before their draws are applied."""

    images: list[np.ndarray]
    drawn: list[Drawn]
    label: int
    modalities: list[int]
    cameras: list[int]
    domain: int
    bad: list[str]


class _Loaded(NamedTuple):
    """A batch without its images, which are bytes in shared memory; the draws of each image; and skipped files."""

    batch: Batch
    table: Table
    place: Place | Tensor
    bad: list[str]


def _collate(shared: SharedBatches, samples: list[Any]) -> Any:
    """Return a `_Loaded` as arrays, or the first error."""
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    images, drawn, labels, modalities, cameras, domains, bad = zip(*samples, strict=True)
    sets = (len(samples), len(images[0])) if len(images[0]) > 1 else (len(samples),)
    kinds, places = torch.tensor(modalities).view(sets), torch.tensor(cameras).view(sets)
    batch = Batch(torch.empty(0), torch.tensor(labels), kinds, places, torch.tensor(domains))
    batch = batch._replace(composition=composition_of_sets(batch.labels, kinds))
    of_images = [domain for domain, each in zip(domains, drawn, strict=True) for _ in each]
    table = table_of([one for each in drawn for one in each], of_images)
    place = shared.put([image for each in images for image in each])
    return as_arrays(_Loaded(batch, table, place, [path for paths in bad for path in paths]))
