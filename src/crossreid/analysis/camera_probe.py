"""Camera bias: how well a linear probe predicts the camera from embeddings of identities that it was not fitted on.

Source: Porrello et al., "Robust Re-Identification by Multiple Views Knowledge Distillation", ECCV 2020. Traces of a
camera in an embedding (light, background, height) bring images of different identities together and pull images of one
identity apart. The probe is that of `crossreid.analysis.probes`: identities are split, and the regularisation is chosen
on separate identities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossreid.analysis.probes import classify, divide, standardised
from crossreid.data.records import DataError, Modality
from crossreid.evaluation.features import Features

_STRENGTHS = (
    1e-4,
    1e-3,
    1e-2,
    1e-1,
    1e0,
    1e1,
)  # C; few cameras with many images need less regularisation than identities
LEAST = 4  # identities: some to fit on, one to choose the regularisation, one to test on


def read_camera(embeddings: np.ndarray, identities: np.ndarray, cameras: np.ndarray, seed: int) -> dict[str, float]:
    """Predict the cameras `(N,)` from embeddings `(N, D)` by logistic regression, with a split of the identities.

    Returns:
        accuracy: share of test images whose camera is predicted correctly.
        prior: accuracy of always predicting the most frequent camera of the fitted images.
        share: share of the camera's entropy that is explained, 0 for guessing by frequency.

    Raises:
        DataError: fewer than four identities, or fewer than two cameras among the fitted images.
    """
    fit, tune, test = divide(identities, seed, least=LEAST)
    names, codes = np.unique(cameras, return_inverse=True)
    if len(np.unique(codes[fit])) < 2:
        raise DataError(
            f"expected at least two cameras among the {fit.sum()} images that a probe is fitted on, found only camera "
            f"{names[codes[fit][0]]}."
        )
    scaled = standardised(embeddings, fit | tune)
    share, accuracy = classify("linear", scaled, codes, fit, tune, test, seed, strengths=_STRENGTHS)
    most_frequent = np.bincount(codes[fit | tune]).argmax()
    return {"accuracy": accuracy, "prior": float((codes[test] == most_frequent).mean()), "share": share}


def read_cameras(features: Features, divisions: int) -> dict[str, list[dict[str, Any]]]:
    """Return `read_camera` for `divisions` splits of the identities, per modality with two or more known cameras.

    Raises:
        DataError: there is no such modality.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for modality in Modality:
        rows = (features.modalities == modality) & (features.cameras > 0)
        if len(np.unique(features.cameras[rows])) > 1:
            own = features.take(rows)
            found[modality.name.lower()] = [
                {"division": seed, **read_camera(own.embeddings, own.identities, own.cameras, seed)}
                for seed in range(divisions)
            ]
    if not found:
        raise DataError(
            "there are no cameras to predict: expected one modality with images of at least two known cameras, found cameras "
            f"{', '.join(map(str, np.unique(features.cameras)))} (0: unknown)."
        )
    return found
