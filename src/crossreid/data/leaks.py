"""Leaks: near-duplicates, or images of one burst, on both sides of a split.

Near-duplicates in training and test make the test easy; under two identities, one of them is wrong; in query and
gallery of one identity, a query finds its own moment instead of its individual.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from crossreid.data.addresses import Place
from crossreid.data.looks import SIDE, Look
from crossreid.data.records import Record, Split

ALIKE = 0.97  # thumbnail correlation from which images count as near-duplicates
BURST = 60.0  # seconds
MOST = 50_000  # the most images to compare, all with all
_BLOCK = 1024

Key = tuple[Place, tuple[int, int, int, int] | None]


def key_of(record: Record) -> Key:
    """Return what identifies an image: a picture, and the part of it."""
    return record.path, record.box


def leaks(split: Split, looks: Mapping[Key, Look]) -> list[str]:
    """Return a line for each kind of leak, with the number of images and the first of them."""
    return near_duplicates(split, looks) + bursts(split)


def near_duplicates(split: Split, looks: Mapping[Key, Look]) -> list[str]:
    """Return lines about near-duplicates across parts, across identities, and between query and gallery."""
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    placed: dict[Key, tuple[int, Record]] = {}
    for number, part_of_split in enumerate(parts.values()):
        for record in part_of_split:
            if (key := key_of(record)) in looks:
                placed.setdefault(key, (number, record))
    if not 2 <= len(placed) <= MOST:
        return []
    records = [record for _, record in placed.values()]
    part = np.array([number for number, _ in placed.values()])
    names = np.unique([record.identity for record in records], return_inverse=True)[1].reshape(-1)
    asks, answers = ({key_of(record) for record in side} for side in (split.query, split.gallery))
    asking, answering = (np.array([key in side for key in placed]) for side in (asks, answers))
    cameras = np.array([record.camera for record in records])
    thumbnails = np.stack([looks[key].thumbnail for key in placed]).reshape(len(placed), SIDE * SIDE)
    concerned: dict[str, set[int]] = defaultdict(set)
    first: dict[str, tuple[int, int]] = {}
    everyone = np.arange(len(records))
    for start in range(0, len(records), _BLOCK):
        rows = everyone[start : start + _BLOCK]
        ones, others = np.nonzero(thumbnails[rows] @ thumbnails.T >= ALIKE)
        ones = rows[ones]
        same_name, same_part = names[ones] == names[others], part[ones] == part[others]
        left_out = (cameras[ones] == cameras[others]) & (cameras[ones] > 0)
        for kind, mask in (
            ("parts", ~same_part & (ones < others)),
            ("identities", ~same_name & same_part & (ones < others)),
            ("test", same_name & (ones != others) & asking[ones] & answering[others] & ~left_out),
        ):
            concerned[kind].update(ones[mask].tolist())
            if kind not in first and mask.any():
                first[kind] = int(ones[mask][0]), int(others[mask][0])
    said = {
        "parts": "images are near-duplicates of one in another part of the split: training, validation or test",
        "identities": "images are near-duplicates of one of another identity",
        "test": "queries have a near-duplicate of their identity in the gallery that is not excluded by camera",
    }
    return [
        f"{len(concerned[kind]):,} {text} (first: {records[first[kind][0]].path} and {records[first[kind][1]].path})."
        for kind, text in said.items()
        if kind in first
    ]


def bursts(split: Split) -> list[str]:
    """Return a line about queries whose identity has a gallery image within a minute that is not excluded by camera."""
    gallery: dict[str, list[Record]] = defaultdict(list)
    for record in split.gallery:
        if record.time is not None:
            gallery[record.identity].append(record)
    pairs = [(query, near) for query in split.query if (near := _near_in_time(query, gallery[query.identity]))]
    if not pairs:
        return []
    query, near = pairs[0]
    return [
        f"{len(pairs):,} of {len(split.query):,} queries have a gallery image of their identity within {BURST:.0f} s "
        f"that is not excluded by camera (first: {query.path} and {near.path}). Give each sighting its own camera number, and set "
        "leave_out to 'same camera'."
    ]


def _near_in_time(query: Record, others: Sequence[Record]) -> Record | None:
    if query.time is None:
        return None
    for other in others:
        left_out = query.camera > 0 and query.camera == other.camera
        near = other.time is not None and abs(other.time - query.time) <= BURST
        if near and not left_out and key_of(other) != key_of(query):
            return other
    return None
