"""A layout of the rendered world: which images to render, where to write them, and the lists beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossreid.data.records import Modality


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to render: its identity, the world's camera, its index, and the file to write.

    `camera` is the camera's number in the layout, which may have other cameras than the world.
    """

    identity: int
    rendered_by: int
    index: int
    path: str
    camera: int
    modality: Modality = Modality.VISIBLE


@dataclass(frozen=True, slots=True)
class Layout:
    """A public layout: `shots(identities, images)` plans the images, `lists(root, shots, identities, seed)` writes what
    goes beside them; `subject` is what it shows, a key of `world.SUBJECTS`."""

    subject: str
    shots: Callable[[int, int], list[Shot]]
    lists: Callable[[Path, list[Shot], int, int], None]


def divide(identities: int) -> tuple[list[int], list[int], list[int]]:
    """Split identities 1 ... n into training, validation and test: about 55, 20 and 25 %, with two or more for the
    test.
    """
    test = max(2, round(identities * 0.25))
    validate = max(1, round(identities * 0.2)) if identities >= 6 else 0
    numbers = list(range(1, identities + 1))
    train = identities - test - validate
    return numbers[:train], numbers[train : train + validate], numbers[train + validate :]
