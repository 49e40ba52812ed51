"""Whether two models embed alike: the largest difference between them on rendered people of both modalities."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor

from crossreid.data.synthetic import synthesise
from crossreid.inference.embedding_model import EmbeddingModel, prepared
from crossreid.inference.sources import source_records

BATCHES = (1, 3, 8)


def sample_images(model: EmbeddingModel) -> tuple[Tensor, Tensor]:
    """Rendered people as two visible and two infrared cameras or more see them, prepared: `(B, 3, H, W)`, `(B,)`."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        synthesise(world, "manifest", 4, 0, images_per_camera=1, size=(128, 64), workers=1)
        return prepared(model, source_records(str(world)))


def largest_difference(model: EmbeddingModel, other: EmbeddingModel, images: Tensor, modalities: Tensor) -> float:
    """The largest absolute difference of any value of two models' embeddings, and of their features.

    Features are divided by the length of `model`'s. Images are given in batches of 1, 3, 8 and all. A difference that is
    not a number counts as infinite.
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
