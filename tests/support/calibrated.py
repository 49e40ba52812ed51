"""Calibrations with curves that are known, and embeddings of people that calibrations are made from."""

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, Curve, pair_name
from crossreid.evaluation.features import Features


def straight(low, high):
    """A curve that rises from 0.01 at a score to 0.99 at another."""
    return Curve(np.array([low, high]), np.array([0.01, 0.99]))


def known_calibration(fingerprint="", *, low=0.0, high=1.0, rates=(0.01, 0.1)):
    """Curves that rise from `low` to `high`, of two modalities 0.2 later; thresholds 0.9 - 2 * rate, of the nearest 0.05 more."""
    curves, thresholds, nearest = {}, {}, {}
    for query in Modality:
        for gallery in Modality:
            name, later = pair_name(query, gallery), 0.2 * (query != gallery)
            curves[name] = straight(low + later, high + later)
            thresholds[name] = {rate: 0.9 - 2 * rate for rate in rates}
            nearest[name] = {rate: 0.95 - 2 * rate for rate in rates}
    return Calibration(curves, thresholds, nearest, 0.05, "isotonic", fingerprint)


def people(count=240, identities=12, *, dimension=16, noise=1.0, cameras=4, seed=0, modalities=2):
    """Embeddings of people by `cameras` cameras of both modalities (or of one), all of them queries and gallery."""
    rng = np.random.default_rng(seed)
    who, camera = rng.integers(0, identities, count), rng.integers(1, cameras + 1, count)
    rows = rng.normal(size=(identities, dimension))[who] + noise * rng.normal(size=(count, dimension))
    kind = camera % 2 if modalities == 2 else np.zeros(count, np.int64)
    rows += 0.7 * rng.normal(size=(2, dimension))[kind]
    return Features(
        embeddings=rows, identities=np.array([f"p{number}" for number in who]), cameras=camera, modalities=kind,
        positions=np.arange(count), names=np.array([f"{row}.jpg" for row in range(count)]),
        roles=np.full(count, "both"),
    )  # fmt: skip
