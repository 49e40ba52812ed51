"""Who queries and who is in the gallery: the rows of features on each side of a setting."""

from __future__ import annotations

import numpy as np

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import Protocol, Setting


def sides_of(features: Features, setting: Setting, plan: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Return the query rows of features, and the rows that may be drawn into the gallery, in a setting of a protocol.

    Raises:
        DataError: one side is empty.
    """
    if setting.query is None or setting.gallery is None:
        query, gallery = sides_by_role(features)
    else:
        query, gallery = features.modalities == setting.query, features.modalities == setting.gallery
    known = ~np.isin(features.identities, plan.junk)
    query, gallery = query & known, gallery & known
    if setting.several_cameras is not None:
        query = query & (seen_by_several(features) == setting.several_cameras)
    if setting.query_cameras is not None:
        query = query & np.isin(features.cameras, setting.query_cameras)
    if setting.gallery_cameras is not None:
        gallery = gallery & np.isin(features.cameras, setting.gallery_cameras)
    for side, mask, modality, cameras in (
        ("query", query, setting.query, setting.query_cameras),
        ("gallery", gallery, setting.gallery, setting.gallery_cameras),
    ):
        if not mask.any():
            kind = f"{modality.name.lower()} " if modality is not None else ""
            source = f" of cameras {', '.join(map(str, cameras))}" if cameras else ""
            raise DataError(
                f"{plan.name}, {setting.name}: the {side} is empty; expected {kind}images{source} among the "
                f"{len(features)} given."
            )
    return np.flatnonzero(query), np.flatnonzero(gallery)


def seen_by_several(features: Features) -> np.ndarray:
    """Return `(N,)` bool: whether several cameras saw the identity of an image."""
    names, codes = np.unique(features.identities, return_inverse=True)
    pairs = np.unique(np.stack([codes.reshape(-1), features.cameras]), axis=1)
    return np.bincount(pairs[0], minlength=len(names))[codes.reshape(-1)] > 1


def sides_by_role(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return the result of `rows_by_role` for features."""
    return rows_by_role(features.roles, features.modalities)


def rows_by_role(roles: np.ndarray, modalities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `(N,)` bool each: what queries and what is in the gallery, by role, for settings that name no modalities.

    Images with both roles query by modality, infrared against visible or, if there is one modality, each all others.
    """
    query, gallery, both = (roles == role for role in ("query", "gallery", "both"))
    if len(np.unique(modalities[both])) < 2:
        return query | both, gallery | both
    return query | (both & (modalities == INFRARED)), gallery | (both & (modalities == VISIBLE))
