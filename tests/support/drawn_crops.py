"""Crops with drawn embeddings, for the tests of `clustering`."""

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.thresholds import pairs_of, stated, thresholds_of


def crops_of(embeddings, **known):
    """Crops of rows `(N, D)`, named so that their order is that of the rows; other columns as given."""
    rows = np.asarray(embeddings, np.float32)
    count = len(rows)
    ids = [f"{row:04}.jpg" for row in range(count)]
    values = {
        "ids": ids, "paths": ids, "boxes": [None] * count, "identities": [None] * count, "tracklets": [None] * count,
        "cameras": np.zeros(count, np.int64), "modalities": np.zeros(count, np.int64), "times": np.full(count, np.nan),
        "frames": np.full(count, -1), "model": "ab" * 32,
    } | known  # fmt: skip
    arrays = {name: np.asarray(values[name]) for name in ("cameras", "modalities", "times", "frames")}
    return Crops(embeddings=rows / np.linalg.norm(rows, axis=1, keepdims=True), **(values | arrays))


def people(identities, images, dimension=16, noise=0.35, seed=0):
    """Unit rows `(N, D)` about a centre for each identity, and whose each is `(N,)`."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(identities), images)
    centres = rng.standard_normal((identities, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return centres[who] + noise / np.sqrt(dimension) * rng.standard_normal((len(who), dimension)), who


def at(threshold, crops):
    """That cosine as the threshold of every pair of modalities."""
    return thresholds_of(pairs_of(crops.modalities), stated([str(threshold)]))


def same_partition(one, other):
    """Whether two arrays of labels part their elements alike, whatever they call the parts."""
    pairs = set(zip(np.asarray(one).tolist(), np.asarray(other).tolist(), strict=True))
    return len(pairs) == len(set(np.asarray(one).tolist())) == len(set(np.asarray(other).tolist()))
