"""Bursts: crops of one cluster taken by one camera within seconds. They show one moment and add little information."""

from __future__ import annotations

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.merging import members, numbered

SECONDS = 5.0
FRAMES = 25  # if times are unknown but frames are known


def bursts(crops: Crops, labels: np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """`(N,)` int64, the burst of each crop, numbered by their first crops; other crops are bursts of one.

    Crops of one cluster and one known camera, in order of time, form a burst as long as each follows within
    `seconds`; if no time is known, within 25 frames.
    """
    count = len(crops)
    timed, framed = ~np.isnan(crops.times), crops.frames >= 0
    moment = np.where(timed, crops.times, np.where(framed, crops.frames, 0).astype(np.float64))
    kind = np.where(timed, 0, np.where(framed, 1, 2))  # those of neither stand behind, between none
    order = np.lexsort((np.arange(count), moment, kind, crops.cameras, labels))
    known = (crops.cameras > 0) & (timed | framed)
    before, after = order[:-1], order[1:]
    gap = np.where(kind[after] == 0, seconds, float(FRAMES))
    follows = (
        (labels[before] == labels[after]) & (crops.cameras[before] == crops.cameras[after]) & (kind[before] == kind[after])
        & known[before] & known[after] & (moment[after] - moment[before] <= gap)
    )  # fmt: skip
    numbers = np.empty(count, np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(~follows)])
    return numbered(numbers)


def one_of_each(crops: Crops, numbers: np.ndarray) -> np.ndarray:
    """`(N,)` bool: True for the crop of each burst most similar to the burst's mean, the first in a tie."""
    kept = np.zeros(len(crops), bool)
    for own in members(numbers):
        mean = crops.embeddings[own].mean(axis=0)
        kept[own[int(np.argmax(crops.embeddings[own] @ mean))]] = True
    return kept
