"""The training images for measuring activation ranges: chosen by the run's seed, equally many per modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from crossreid.data.evaluation_loading import evaluation_batches
from crossreid.data.records import Modality, Record, in_order
from crossreid.errors import CrossreidError
from crossreid.runs.preprocessing import Preprocessing

IMAGES = 300
BATCH = 8


@dataclass(frozen=True, eq=False, slots=True)
class RangeImages:
    """Training images prepared as the network takes them: `images (N, 3, H, W)` float32, `modalities (N,)` int64.

    They are passed `batch` at a time, or `only` at a time for a network with a fixed batch size, which is padded.
    """

    images: np.ndarray
    modalities: np.ndarray
    batch: int = BATCH
    only: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of images per modality."""
        return {kind.name.lower(): int((self.modalities == kind).sum()) for kind in Modality}

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the inputs of an exported network, one batch at a time."""
        for first in range(0, len(self), self.batch):
            rows = np.arange(first, first + self.batch)
            rows = np.minimum(rows, len(self) - 1) if self.only else rows[rows < len(self)]
            yield {"images": self.images[rows], "modalities": self.modalities[rows]}


def read_range_images(
    train: Sequence[Record], seen: Preprocessing, count: int, seed: int, *, advance: Callable[..., object] | None = None
) -> RangeImages:
    """Read `count` training images, selected by `chosen`, and transform them as for evaluation.

    `advance` is called with (0, images) and with numbers of images as they are read. N images take
    12 * N * height * width bytes.

    Raises:
        CrossreidError: no training image, or a count below 1.
        DataError: an unreadable image; the message names it.
    """
    records = chosen(train, count, seed)
    if advance is not None:
        advance(0, len(records))
    parts: list[tuple[Any, Any]] = []
    for images, modalities in evaluation_batches(
        records,
        height=seen.height,
        width=seen.width,
        interpolation=seen.interpolation,
        normalisation=seen.normalisation,
    ):
        parts.append((images.numpy(), modalities.numpy()))
        if advance is not None:
            advance(len(images))
    read, kinds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return RangeImages(read, kinds.astype(np.int64))


def chosen(train: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Return distinct training images of alternating modality, the same for the same seed; all if there are fewer.

    Half are of each modality; if one has fewer, the other fills up.

    Raises:
        CrossreidError: no training image, or a count below 1.
    """
    if count < 1:
        raise CrossreidError(f"--calibration-images {count}: expected 1 or more.")
    if not train:
        raise CrossreidError("the data set has no training images, from which int8 takes its ranges.")
    generator = np.random.default_rng(seed)
    records = in_order(set(train))
    each: dict[Modality, list[Record]] = {}
    for kind in Modality:
        own = [record for record in records if record.modality == kind]
        each[kind] = [own[place] for place in generator.permutation(len(own))]
    half = {kind: (count + (kind == Modality.VISIBLE)) // 2 for kind in Modality}
    spare = {kind: max(0, half[kind] - len(own)) for kind, own in each.items()}
    takes = {kind: half[kind] + sum(left for other, left in spare.items() if other != kind) for kind in Modality}
    turns = zip_longest(*(each[kind][: takes[kind]] for kind in Modality))
    return [record for record in chain.from_iterable(turns) if record is not None]
