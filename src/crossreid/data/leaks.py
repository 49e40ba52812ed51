"""Leaks: images that are nearly the same, or taken in one burst, on both sides of a division.

Nearly the same in training and in test makes the test easy, under two identities makes one of them wrong, and in queries and
gallery of one identity lets a query find its own moment instead of its individual.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from crossreid.data.addresses import Place
from crossreid.data.looks import SIDE, Look
from crossreid.data.records import Record, Split

ALIKE = 0.97  # correlation of two thumbnails from which on images count as nearly the same
BURST = 60.0  # seconds
MOST = 50_000  # images that are compared, all with all
_BLOCK = 1024

Key = tuple[Place, tuple[int, int, int, int] | None]


def key_of(record: Record) -> Key:
    """What tells images from one another: a picture, and the part of it."""
    return record.path, record.box


def leaks(split: Split, looks: Mapping[Key, Look]) -> list[str]:
    """A line for each kind of leak that there is, with how many images it concerns and the first of them."""
    return near_duplicates(split, looks) + bursts(split)


def near_duplicates(split: Split, looks: Mapping[Key, Look]) -> list[str]:
    """Lines about images that are nearly the same across parts, across identities, and between query and gallery."""
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
        "parts": "images are nearly the same as one of another part of the division, training, validation or test",
        "identities": "images are nearly the same as one of another identity",
        "test": "queries find an image of their identity in the gallery that is nearly the same, and that no camera leaves out",
    }
    return [
        f"{len(concerned[kind]):,} {text} (first: {records[first[kind][0]].path} and {records[first[kind][1]].path})."
        for kind, text in said.items()
        if kind in first
    ]


def bursts(split: Split) -> list[str]:
    """A line about queries whose identity was photographed for the gallery within a minute, where no camera leaves that out."""
    gallery: dict[str, list[Record]] = defaultdict(list)
    for record in split.gallery:
        if record.time is not None:
            gallery[record.identity].append(record)
    pairs = [(query, near) for query in split.query if (near := _near_in_time(query, gallery[query.identity]))]
    if not pairs:
        return []
    query, near = pairs[0]
    return [
        f"{len(pairs):,} of {len(split.query):,} queries find an image of their identity that was taken within {BURST:.0f} s, and "
        f"that no camera leaves out (first: {query.path} and {near.path}). Give each sighting a number of its own as camera, and set "
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
