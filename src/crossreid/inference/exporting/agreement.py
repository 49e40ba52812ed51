"""Agreement of two models: the largest difference between their embeddings of images of both modalities."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from crossreid.data.levels import with_levels
from crossreid.data.records import Modality, Record, in_order
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.inference.embedding_model import EmbeddingModel, prepared
from crossreid.inference.sources import source_records
from crossreid.runs.recipe import recipe_of_run
from crossreid.runs.run import open_split

BATCHES = (1, 3, 8)
OF_EACH = 12


def images_to_compare(model: EmbeddingModel) -> tuple[Tensor, Tensor, str]:
    """Return images `(B, 3, H, W)` to compare another engine on, their modalities `(B,)`, and a description.

    If the run's data set is available, they are at most 12 of its test images per modality, evenly spaced; otherwise
    rendered people.
    """
    try:
        records = with_levels(_test_images(model.source), model.preprocessing.levels)
        images, modalities = prepared(model, records)
    except (CrossreidError, OSError):
        return *sample_images(model), "rendered people"
    return images, modalities, "its test set"


def _test_images(folder: Path) -> list[Record]:
    split = open_split(recipe_of_run(folder))
    chosen: list[Record] = []
    for modality in Modality:
        records = in_order({record for record in split.test if record.modality == modality})
        chosen += _spread(records, OF_EACH)
    if not chosen:
        raise CrossreidError(f"{folder}: its data set has no test images.")
    return chosen


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """Return `count` of the records, evenly spaced, or all if there are fewer."""
    positions = torch.linspace(0, len(records) - 1, min(count, len(records))).long().tolist() if records else []
    return [records[position] for position in positions]


def sample_images(model: EmbeddingModel) -> tuple[Tensor, Tensor]:
    """Return rendered people from two or more cameras per modality, transformed: `(B, 3, H, W)`, modalities `(B,)`."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        synthesise(world, "manifest", 4, 0, images_per_camera=1, size=(128, 64), workers=1)
        return prepared(model, source_records(str(world)))


def largest_difference(model: EmbeddingModel, other: EmbeddingModel, images: Tensor, modalities: Tensor) -> float:
    """Return the largest absolute difference in any value of two models' embeddings or features.

    Features are divided by the length of `model`'s. Images are passed in batches of 1, 3, 8 and all. NaN counts as
    infinite.
    """
    worst = 0.0
    starts = [(size, first) for size in (*BATCHES, len(images)) for first in range(0, len(images), size)]
    for size, first in starts:
        part, kinds = images[first : first + size], modalities[first : first + size]
        pairs = [(model.embed(part, kinds), other.embed(part, kinds))]
        ours, theirs = model.features(part, kinds), other.features(part, kinds)
        length = ours.norm(dim=1, keepdim=True).clamp(min=1e-12)
        pairs.append((ours / length, theirs / length))
        for mine, yours in pairs:
            difference = float((mine - yours).abs().max())
            worst = max(worst, difference if difference == difference else float("inf"))
    return worst
