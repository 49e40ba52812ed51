"""Camera bias: how well a linear probe reads the camera off embeddings of identities that it was not fitted on.

Source: Porrello et al., "Robust Re-Identification by Multiple Views Knowledge Distillation", ECCV 2020. What a camera
leaves in an embedding (light, background, height) brings images of different identities together and draws images of
one identity apart. The probe is that of `crossreid.analysis.probes`: identities are divided, the regularisation is
chosen on identities of its own.
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
)  # C; few cameras of many images bear less regularisation than identities
LEAST = 4  # identities: some to fit on, one to choose the regularisation by, one to ask about


def read_camera(embeddings: np.ndarray, identities: np.ndarray, cameras: np.ndarray, seed: int) -> dict[str, float]:
    """What a logistic regression reads of the cameras `(N,)` off embeddings `(N, D)`, by a division of the identities.

    Returns:
        accuracy: share of the images asked about whose camera is read right.
        prior: accuracy of always naming the camera that is most frequent among the images fitted on.
        share: share of the camera's entropy that is read, 0 for a guess by frequency.

    Raises:
        DataError: fewer than four identities, or fewer than two cameras among the images fitted on.
    """
    fit, tune, test = divide(identities, seed, least=LEAST)
    names, codes = np.unique(cameras, return_inverse=True)
    if len(np.unique(codes[fit])) < 2:
        raise DataError(
            f"expected two cameras or more among the {fit.sum()} images that a probe is fitted on, found camera "
            f"{names[codes[fit][0]]} alone."
        )
    scaled = standardised(embeddings, fit | tune)
    share, accuracy = classify("linear", scaled, codes, fit, tune, test, seed, strengths=_STRENGTHS)
    most_frequent = np.bincount(codes[fit | tune]).argmax()
    return {"accuracy": accuracy, "prior": float((codes[test] == most_frequent).mean()), "share": share}


def read_cameras(features: Features, divisions: int) -> dict[str, list[dict[str, Any]]]:
    """Of each modality with two known cameras or more, `read_camera` by so many divisions of its identities.

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
            "there is no camera to read: expected images of two known cameras or more of one modality, found cameras "
            f"{', '.join(map(str, np.unique(features.cameras)))} (0: unknown)."
        )
    return found
