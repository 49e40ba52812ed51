"""Kinds of epochs: which images make up each batch.

Each function takes the images of the identities as `groups` (for each identity one array of indices per modality, or a
single array), P identities and K images of each per batch, and returns indices `(steps, P, K)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Groups = Sequence[Sequence[np.ndarray]]


def every_image(groups: Groups, p: int, k: int, steps: int, generator: np.random.Generator) -> np.ndarray:
    """Take identities in turn, and the images of each in turn: none is repeated before all of its group were used.

    Within an identity, the visible images of a batch come first, then the infrared ones.
    """
    cycles = [[_cycle(part, generator) for part in parts] for parts in groups]
    identities = _identities(len(groups), p, generator)
    each = k // len(cycles[0])
    batches = np.empty((steps, p, k), dtype=np.int64)
    for step in range(steps):
        chosen = [next(identities) for _ in range(p)]
        batches[step] = [[next(cycle) for cycle in cycles[i] for _ in range(each)] for i in chosen]
    return batches


def every_identity(groups: Groups, p: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """Take every identity once, in random order, except those of an incomplete last batch, with K random images.

    Images are drawn without replacement, or with it if there are too few; modalities alternate, visible first. The
    releases of variational distillation and views knowledge distillation do this.
    """
    order = generator.permutation(len(groups))[: len(groups) // p * p]
    drawn = [_in_turn([_some(part, k // len(groups[i]), generator) for part in groups[i]]) for i in order]
    return np.array(drawn, dtype=np.int64).reshape(-1, p, k)


def pair_chunks(groups: Groups, k: int) -> np.ndarray:
    """Return how many chunks of K images, K/2 of each modality, an epoch of pairs takes per identity.

    As many as the smaller modality allows without repeating an image; one if both have fewer than K/2.
    """
    sizes = np.array([[len(part) for part in parts] for parts in groups])
    return np.where(sizes.max(1) < k // 2, 1, sizes.min(1) // (k // 2))


def pair_turns(chunks: np.ndarray, p: int, generator: np.random.Generator) -> np.ndarray:
    """Return the identities of each batch `(steps, P)`: P random ones with a chunk left, until there are fewer."""
    left, turns = chunks.copy(), []
    while len(available := np.flatnonzero(left)) >= p:
        turns.append(generator.choice(available, p, replace=False))
        left[turns[-1]] -= 1
    return np.array(turns, dtype=np.int64).reshape(-1, p)


def every_pair(groups: Groups, p: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """Take pairs of an infrared and a visible image, in turn; per identity, as many as its smaller modality has images.

    Both modalities are shuffled, and the larger one is truncated. An identity with fewer than K/2 images in both
    modalities gives K/2 pairs, drawn with replacement. K/2 pairs are a chunk, the rest is dropped; `pair_turns` orders
    the chunks. IDKL's release does this.
    """
    chunks = pair_chunks(groups, k)
    turns = pair_turns(chunks, p, generator)
    half = k // 2
    ordered = []
    for count, (visible, infrared) in zip(chunks, groups, strict=True):
        if max(len(visible), len(infrared)) < half:
            parts = [generator.choice(part, half) for part in (infrared, visible)]
        else:
            parts = [generator.permutation(part)[: count * half] for part in (infrared, visible)]
        ordered.append(iter(_in_turn(parts).reshape(-1, k)))
    return np.array([[next(ordered[i]) for i in batch] for batch in turns], dtype=np.int64).reshape(-1, p, k)


def each_batch_afresh(groups: Groups, p: int, k: int, steps: int, generator: np.random.Generator) -> np.ndarray:
    """Draw each batch independently (AGW's release): P identities without replacement, K images of each with it."""
    batches = np.empty((steps, p, k), dtype=np.int64)
    for step in range(steps):
        chosen = generator.choice(len(groups), p, replace=False)
        batches[step] = [
            np.concatenate([generator.choice(part, k // len(groups[i])) for part in groups[i]]) for i in chosen
        ]
    return batches


def _cycle(indices: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(i) for i in generator.permutation(indices))


def _identities(count: int, p: int, generator: np.random.Generator) -> Iterator[int]:
    """Yield permutations of the identities, one after the other; a batch never has one identity twice."""
    pending: list[int] = []
    while True:
        batch = pending[:p]
        pending = pending[p:]
        if len(batch) < p:
            fresh = [int(i) for i in generator.permutation(count)]
            taken = set(batch)
            first = [i for i in fresh if i not in taken][: p - len(batch)]
            used = set(first)
            pending = [i for i in fresh if i not in used]
            batch += first
        yield from batch


def _some(part: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.choice(part, count, replace=len(part) < count)


def _in_turn(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the first of each part, the second of each, and so on; parts are equally long."""
    return np.stack(parts, axis=1).reshape(-1)
