"""Detectors by name or by file, built-in and third-party, and their settings: classes, scores, sizes.

A detector registers itself with `register_detector`. One is made per camera, whose frames come in order, so it may keep
state. It then states how many frames that state depends on, `remembers`; they are shown to it again when a watch is
resumed. A network shared by several cameras is best cached in the function that makes it (`functools.lru_cache`).
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
    """The settings of a detector. It may ignore scores and sizes: detections that are too small are removed afterwards.

    weights: a file of network weights or detections; classes: names or numbers of the wanted classes, none by default.
    minimum_score: in [0, 1]; minimum_size: (height, width) in pixels of the frame, None if not given.
    device: the network's device, None for a GPU if available.
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
    """An entry of `DETECTORS`: the function that makes a detector, the settings it takes, and its default score."""

    owner: Factory
    takes: tuple[str, ...] = ()
    minimum_score: float = 0.0


DETECTORS: Registry[RegisteredDetector] = Registry(
    "detector", "crossreid.detectors", package="crossreid.watching.detectors"
)


def register_detector(name: str, *, takes: Sequence[str] = (), minimum_score: float = 0.0) -> Callable[[F], F]:
    """Register the decorated class or function, which returns a `Detector` for `(settings, camera)`, under `name`.

    Args:
        takes: which of `weights` and `classes` it uses; others are refused if a user gives them.
        minimum_score: its minimum score for detections, unless a user gives one.

    Raises:
        PluginError: another module has registered the name.
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
    """The function that makes the detector of each camera.

    Args:
        spec: a registered name, for example `background`; a file of detections or a folder with one per camera; a
            network as an .onnx file.
        weights: a network's weights.
        classes: names or numbers of the wanted classes; by default people, if the detector has that class.
        minimum_score: detections with lower scores are left out; by default that of the detector's kind.
        minimum_size: (height, width) in pixels of the frame; smaller ones are left out.
        device: the network's device; by default a GPU if available. Ignored by detectors without a network.

    Raises:
        CrossreidError: an unknown name, a missing file, or an option that does not apply to the detector.
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
            raise CrossreidError(f"detector {spec} is itself a file, so --weights {weights} has no use. Leave it out.")
        name, weights = ("onnx" if path.suffix.lower() == ".onnx" else "file"), path
    entry = DETECTORS.find(name)
    given = {"weights": weights, "classes": ", ".join(classes) or None}
    for key, value in given.items():
        if value is not None and key not in entry.takes:
            raise CrossreidError(f"detector {name!r} takes no {key}, so {value} has no use. Leave it out.")
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
    """A detector whose boxes are clipped to the frame, large enough, and of at least the required score.

    notes: the detector's notes about itself, one line each, if any.
    remembers: the number of preceding frames that its detections depend on; 0 if it does not say.
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
    """Clip detections to a frame of `size` (height, width), and drop those that are then too small or score too low."""
    height, width = size
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], dtype=np.float32))
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    low, narrow = minimum_size or (0, 0)
    keep = (found.scores >= minimum_score) & (across > 0) & (down > 0) & (down >= low) & (across >= narrow)
    return Detections(boxes[keep], found.scores[keep])


def wanted_numbers(classes: Sequence[str], names: dict[int, str], default: Sequence[str], who: str) -> set[int] | None:
    """The numbers of the wanted classes; None for all.

    Args:
        classes: names or numbers, as given by a user; if none, those of `default` that exist.
        names: of the detector's classes, by number; empty if unknown.

    Raises:
        CrossreidError: an unknown name.
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
            known_names = ", ".join(names.values()) or "no names, only numbers"
            raise CrossreidError(f"{who}: class {one!r} is unknown. Known: {known_names}.")
    return found
