"""Queries of many requests computed together: embedded in one pass of the network, compared in one search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossreid.galleries.entries import Matches
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Gallery
from crossreid.inference.embedding_model import EmbeddingModel


@dataclass(frozen=True, eq=False, slots=True)
class ImageQuery:
    """Transformed images `(n, 3, H, W)` with modalities `(n,)`: a set with one embedding, or images with one each."""

    images: Tensor
    modalities: Tensor
    what: Literal["images", "set"]

    def __len__(self) -> int:
        return len(self.images)


class EmbeddingQuery(NamedTuple):
    """An embedding `(D,)`, the number of matches, and the entries to search."""

    embedding: np.ndarray
    k: int
    filter: Filter


def embed_queries(model: EmbeddingModel, queries: list[ImageQuery]) -> list[np.ndarray]:
    """Embeddings per query, `(n, D)`, or `(1, D)` of a set: single images in one pass, sets in another."""
    found: list[np.ndarray] = [np.empty(0)] * len(queries)
    for what in ("images", "set"):
        positions = [position for position, query in enumerate(queries) if query.what == what]
        if not positions:
            continue
        images = torch.cat([queries[position].images for position in positions])
        modalities = torch.cat([queries[position].modalities for position in positions])
        ends = np.cumsum([len(queries[position]) for position in positions])
        if what == "set":
            sets = [range(end - len(queries[position]), end) for position, end in zip(positions, ends, strict=True)]
            parts = list(model.embed_sets(images, modalities, sets).numpy()[:, None])
        else:
            parts = np.split(model.embed(images, modalities).numpy(), ends[:-1])
        for position, part in zip(positions, parts, strict=True):
            found[position] = part
    return found


def search_queries(gallery: Gallery, queries: list[EmbeddingQuery]) -> list[Matches]:
    """Matches per query; queries with the same filter are compared together, for the largest k among them."""
    found: list[Matches | None] = [None] * len(queries)
    for filter in dict.fromkeys(query.filter for query in queries):
        positions = [position for position, query in enumerate(queries) if query.filter == filter]
        embeddings = np.stack([queries[position].embedding for position in positions])
        matches = gallery.search(embeddings, max(queries[position].k for position in positions), filter)
        for position, own in zip(positions, matches, strict=True):
            found[position] = best(own, queries[position].k)
    return [each for each in found if each is not None]


def best(matches: Matches, k: int, without: Sequence[str] = ()) -> Matches:
    """The k best, without those of some ids."""
    kept = [position for position, id in enumerate(matches.ids) if id not in without][:k]
    return Matches(
        tuple(matches.ids[position] for position in kept),
        matches.scores[kept],
        tuple(matches.entries[position] for position in kept),
    )
