"""What a layout of the rendered world is: which images to render, where they lie, and the lists beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossreid.data.records import Modality


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to render: of which identity, by which of the world's cameras, the how manieth, and where it is written.

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
    lies beside them; `subject` is whom it shows, a key of `world.SUBJECTS`."""

    subject: str
    shots: Callable[[int, int], list[Shot]]
    lists: Callable[[Path, list[Shot], int, int], None]


def divide(identities: int) -> tuple[list[int], list[int], list[int]]:
    """Identities 1 ... n to train, to validate and to test: about 55, 20 and 25 in a hundred, two or more to test."""
    test = max(2, round(identities * 0.25))
    validate = max(1, round(identities * 0.2)) if identities >= 6 else 0
    numbers = list(range(1, identities + 1))
    train = identities - test - validate
    return numbers[:train], numbers[train : train + validate], numbers[train + validate :]
