"""The cost of a lower precision: against the run's own network in float32, on its test images, by its protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from crossreid.data.records import Record, Split, in_order
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import embed
from crossreid.evaluation.scores import Score
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exporting.exported import Fidelity
from crossreid.runs.evaluate import score_network
from crossreid.runs.recipe import Recipe
from crossreid.runs.scoring import reading
from crossreid.runs.source_runs import recipe_on

FIGURES = ("mAP", "rank-1")
Advance = Callable[..., object]


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """The test half of a data set and the recipe for testing it; with several sources each part has a `name`."""

    name: str
    split: Split
    recipe: Recipe


class ModelAsNetwork(nn.Module):
    """A model wrapped as a network for evaluation. The model itself handles the mirror image."""

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.model, self.nothing = model, nn.Parameter(torch.zeros(0))  # shows that images are expected on the CPU

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.model.embed(images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.model.features(images, modalities)


def scored_parts(split: Split, recipe: Recipe) -> list[ScoredPart]:
    """Return the data sets of a run as parts to test on, for models without camera input that flip by themselves.

    Raises:
        CrossreidError: there are no test images.
    """
    each = [(name, part, recipe_on(recipe, name)) for name, part in split.sources] or [("", split, recipe)]
    parts = []
    for name, part, tested in each:
        if part.query and part.gallery:
            evaluation = tested.evaluation.model_copy(update={"flip": False})
            parts.append(ScoredPart(name, part, tested.model_copy(update={"evaluation": evaluation})))
    if not parts:
        raise CrossreidError(
            f"{split.root}: there are no test images to say what a lower precision costs. Name other data: "
            "--set data.root=DIR."
        )
    return parts


def measure(
    reference: EmbeddingModel,
    lower: EmbeddingModel,
    parts: Sequence[ScoredPart],
    *,
    scores: bool = True,
    calibrated_on: int = 0,
    advance: Advance | None = None,
) -> Fidelity:
    """Compare `lower` with `reference` on all test images; without `scores`, by cosines alone.

    Scores are of each part's first setting or comparison, as in validation; with several sources, their names follow in
    brackets. `advance` is called with (0, images) once known and with numbers of images as they are embedded.

    Raises:
        CrossreidError: an unreadable image, or data that cannot be scored by its protocol.
    """
    both = ModelAsNetwork(reference), ModelAsNetwork(lower)
    cosines: list[np.ndarray] = []
    found: dict[str, tuple[float, float]] = {}
    told: list[str] = []
    counted = _counting(advance)
    for part in parts:
        scored = (
            [score_network(network, part.split, part.recipe, advance=counted) for network in both] if scores else []
        )
        rows = [compared[""].embeddings for compared, _ in scored if "" in compared]
        if len(rows) < len(both):
            rows = [_embeddings(network, part, counted) for network in both]
        cosines.append(cosine_of_rows(*rows))
        if scored:
            first, other = (each[0] for _, each in scored)
            suffix = f" ({part.name})" if part.name else ""
            found |= {f"{figure}{suffix}": (first.value(figure), other.value(figure)) for figure in FIGURES}
            told.append(_protocol(first, part))
    together = np.concatenate(cosines)
    return Fidelity(float(together.mean()), float(together.min()), len(together), found, "; ".join(told), calibrated_on)


def cosine_of_rows(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosines `(N,)` between the rows of two `(N, D)`, in float64; -1 if a row is not finite, or zero."""
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        cosine = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    return np.where(np.isfinite(cosine), np.clip(cosine, -1, 1), -1.0)


def _embeddings(network: nn.Module, part: ScoredPart, advance: Advance) -> np.ndarray:
    records: list[Record] = in_order({*part.split.query, *part.split.gallery})
    advance(0, len(records))
    return embed(network, records, advance=advance, **reading(part.recipe))


def _protocol(score: Score, part: ScoredPart) -> str:
    named = f"{part.name}: " if part.name else ""
    return f"{named}{score.protocol}, {score.setting}, {score.metric}, {score.valid_queries} queries"


def _counting(advance: Advance | None) -> Advance:
    """Return `advance` with cumulative totals: each pass over the images reports its own."""
    total = 0

    def counted(done: int, more: int | None = None) -> None:
        nonlocal total
        total += more or 0
        if advance is not None:
            advance(done, total)

    return counted
