"""Distances between pairs of images: same identity and camera, same identity across cameras, different identities.

Retrieval across cameras is correct as far as the second kind is below the third; the first kind, which protocols leave
out, shows how much nearer an image is to one that looks alike without being another view. Modalities can replace
cameras; pairs of two identities are then those across modalities, which such retrieval compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from crossreid.data.records import DataError
from crossreid.evaluation.distances import distance_blocks
from crossreid.evaluation.features import Features

KINDS = ("same", "across", "different")
BINS = 400  # over distances 0 to 2, the largest between unit vectors


def place_of(features: Features, across: str = "cameras") -> tuple[str, np.ndarray]:
    """Return what distinguishes views, and its value per image `(N,)`: `camera` or, if unknown, `tracklet`; or
    `modality`.

    Raises:
        DataError: `across` is neither cameras nor modalities; neither camera nor tracklet is known for all images.
    """
    if across == "modalities":
        return "modality", features.modalities
    if across != "cameras":
        raise DataError(f"across {across!r}: expected cameras or modalities.")
    assert features.tracklets is not None
    if (features.cameras > 0).all():
        return "camera", features.cameras
    if (features.tracklets != "").all():
        return "tracklet", features.tracklets
    raise DataError("there are no distinct views: expected the camera or the tracklet of every image.")


def pair_distances(features: Features, metric: str = "cosine", across: str = "cameras") -> dict[str, np.ndarray]:
    """Return the distances of every pair of N images, each pair once, float32 `(pairs,)`, by kind as in `KINDS`.

    Across modalities, pairs of two identities are those of two modalities.
    """
    place, places = place_of(features, across)
    identities = np.unique(features.identities, return_inverse=True)[1]
    views = np.unique(places, return_inverse=True)[1]
    parts: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    columns = np.arange(len(features))
    for rows, block in distance_blocks(features.embeddings, features.embeddings, metric):
        own = columns[rows]
        once = own[:, None] < columns
        alike = identities[own][:, None] == identities
        near = views[own][:, None] == views
        found = block.numpy().astype(np.float32)
        other = ~alike & ~near if place == "modality" else ~alike
        for kind, mask in zip(KINDS, (alike & near, alike & ~near, other), strict=True):
            parts[kind].append(found[mask & once])
    return {kind: np.concatenate(each) for kind, each in parts.items()}


def plural(place: str) -> str:
    return "modalities" if place == "modality" else f"{place}s"


def different(place: str) -> str:
    """Return the printed name of the third kind."""
    return "different identities, across modalities" if place == "modality" else "different identities"


def summarised(pairs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return count, mean, standard deviation and histogram (counts in `BINS` bins over 0 to 2) of each kind of pair.

    `auc` is the probability that a pair of one identity across cameras is nearer than a pair of two identities, ties
    counted half: 1 if the kinds do not overlap, 0.5 if distance is uninformative.

    Raises:
        DataError: no identity was seen by two cameras, or all images show one identity.
    """
    for kind, what in (
        ("across", "one identity across cameras, tracklets or modalities"),
        ("different", "two identities"),
    ):
        if not len(pairs[kind]):
            raise DataError(f"there is no pair of images of {what} among those compared.")
    truth = np.repeat([1, 0], [len(pairs["across"]), len(pairs["different"])])
    near = -np.concatenate([pairs["across"], pairs["different"]])
    edges = np.linspace(0, 2, BINS + 1)
    return {
        "kinds": {
            kind: {
                "pairs": len(values),
                "mean": float(values.mean(dtype=np.float64)) if len(values) else None,
                "deviation": float(values.std(dtype=np.float64)) if len(values) else None,
                "histogram": np.histogram(np.clip(values, 0, 2), edges)[0].tolist(),
            }
            for kind, values in pairs.items()
        },
        "auc": float(roc_auc_score(truth, near)),
    }
