"""Detectors by name or by file, ours and other people's, and what is asked of each: classes, scores, sizes.

A detector registers itself with `register_detector`. It is made once for each camera, whose frames come in order, so that it may
remember the past; it then says how much of it, `remembers` frames, which it is shown again when a watch is gone on with. A
network that several cameras share is best kept by the function that makes it (`functools.lru_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.registry import Registry
from crossreid.watching.cameras import Camera
from crossreid.watching.detections import Detections, Detector
from crossreid.watching.frames import Frame


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What is asked of a detector. Scores and sizes need not be looked at by it: too small ones are taken out behind it.

    weights: a file, of a network's weights or of detections; classes: names or numbers of what is wanted, none by default.
    minimum_score: in [0, 1]; minimum_size: (height, width) in pixels of the frame, None where none was given.
    device: what a network computes on, None for a GPU where there is one.
    """

    weights: Path | None = None
    classes: tuple[str, ...] = ()
    minimum_score: float = 0.0
    minimum_size: tuple[int, int] | None = None
    device: str | None = None


Factory = Callable[[DetectorSettings, Camera], Detector]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RegisteredDetector:
    """An entry of `DETECTORS`: what makes a detector, which of the settings it takes, and its default for scores."""

    owner: Factory
    takes: tuple[str, ...] = ()
    minimum_score: float = 0.0


DETECTORS: Registry[RegisteredDetector] = Registry(
    "detector", "crossreid.detectors", package="crossreid.watching.detectors"
)


def register_detector(name: str, *, takes: Sequence[str] = (), minimum_score: float = 0.0) -> Callable[[F], F]:
    """Register the class or function below as the detector `name`: called with `(settings, camera)` it returns a `Detector`.

    Args:
        takes: those of `weights` and `classes` that it makes use of; others are refused where a user gives them.
        minimum_score: of its detections, where a user gives none.

    Raises:
        PluginError: one of another module has the name.
    """

    def register(factory: F) -> F:
        DETECTORS.add(name, RegisteredDetector(factory, tuple(takes), minimum_score))
        return factory

    return register


def detector_of(
    spec: str,
    *,
    weights: Path | None = None,
    classes: Sequence[str] = (),
    minimum_score: float | None = None,
    minimum_size: tuple[int, int] | None = None,
    device: str | None = None,
) -> Callable[[Camera], LimitedDetector]:
    """What makes the detector of each camera.

    Args:
        spec: a registered name, `background` for example; a file of detections or a folder with one for each camera; a network
            as an .onnx file.
        weights: a network's weights.
        classes: names or numbers of what is wanted; by default people, where the detector knows such.
        minimum_score: detections with less are left out; by default as the detector's kind has it.
        minimum_size: (height, width) in pixels of the frame; smaller ones are left out.
        device: what a network computes on; a GPU where there is one. Of no meaning to a detector that is none.

    Raises:
        CrossreidError: an unknown name, a file that is not there, or something given that the detector has no use for.
    """
    name = spec
    if spec not in DETECTORS:
        path = Path(spec)
        if not path.exists():
            if path.suffix or len(path.parts) > 1:
                raise DataError(
                    f"detector {spec}: no such file. Expected a file of detections, an .onnx file, or one of {', '.join(DETECTORS)}."
                )
            DETECTORS.find(spec)
        if weights is not None:
            raise CrossreidError(f"detector {spec} is a file itself: --weights {weights} has no use. Leave it out.")
        name, weights = ("onnx" if path.suffix.lower() == ".onnx" else "file"), path
    entry = DETECTORS.find(name)
    given = {"weights": weights, "classes": ", ".join(classes) or None}
    for key, value in given.items():
        if value is not None and key not in entry.takes:
            raise CrossreidError(f"detector {name!r} takes no {key}: {value} has no use. Leave it out.")
    if weights is not None and not Path(weights).exists():
        raise DataError(f"detector {name!r}: {weights} not found.")
    score = entry.minimum_score if minimum_score is None else minimum_score
    if not 0 <= score <= 1:
        raise CrossreidError(f"minimum score {score}: expected a number from 0 to 1.")
    if minimum_size is not None and min(minimum_size) < 0:
        raise CrossreidError(f"minimum size {minimum_size}: expected a height and a width in pixels.")
    settings = DetectorSettings(None if weights is None else Path(weights), tuple(classes), score, minimum_size, device)
    return lambda camera: LimitedDetector(entry.owner(settings, camera), settings)


class LimitedDetector:
    """A detector whose boxes lie in the frame, are not too small, and have the score that is asked for.

    notes: what the detector has to say of itself, one line each, where it has.
    remembers: how many frames of the source, before the one that is looked at, bear on what it finds; 0 where it says nothing.
    """

    def __init__(self, detector: Detector, settings: DetectorSettings) -> None:
        self.detector, self.settings = detector, settings
        self.notes: tuple[str, ...] = tuple(getattr(detector, "notes", ()))
        self.remembers: int = getattr(detector, "remembers", 0)

    def detect(self, frame: Frame) -> Detections:
        found = self.detector.detect(frame)
        return limited(found, frame.image.shape[:2], self.settings.minimum_score, self.settings.minimum_size)


def limited(
    found: Detections, size: tuple[int, ...], minimum_score: float, minimum_size: tuple[int, int] | None
) -> Detections:
    """Detections cut to a frame of `size` (height, width), without those that are then too small or have too low a score."""
    height, width = size
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], dtype=np.float32))
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    low, narrow = minimum_size or (0, 0)
    keep = (found.scores >= minimum_score) & (across > 0) & (down > 0) & (down >= low) & (across >= narrow)
    return Detections(boxes[keep], found.scores[keep])


def wanted_numbers(classes: Sequence[str], names: dict[int, str], default: Sequence[str], who: str) -> set[int] | None:
    """The numbers of wanted classes; None for all.

    Args:
        classes: names or numbers, as a user gives them; none for `default`, those of them that there are.
        names: of the classes that a detector tells apart, by number; empty where they are not known.

    Raises:
        CrossreidError: a name that there is none of.
    """
    numbers = {name.lower(): number for number, name in names.items()}
    if not classes:
        known = {numbers[name] for name in default if name in numbers}
        return known or None
    found = set()
    for one in classes:
        if one.lower() in numbers:
            found.add(numbers[one.lower()])
        elif one.strip().isdecimal() and (not names or int(one) in names):
            found.add(int(one))
        else:
            known_names = ", ".join(names.values()) or "none by name, only numbers"
            raise CrossreidError(f"{who}: class {one!r} is unknown. Known: {known_names}.")
    return found
