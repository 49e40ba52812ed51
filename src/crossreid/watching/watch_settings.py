"""The settings of a watch, checked before anything is written, and those kept in `WATCH/watch.json`: everything that
affects what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from crossreid.data.records import DataError
from crossreid.options import Options
from crossreid.runs.faults import explained
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.watching.cameras import Camera, is_address, shown_source
from crossreid.watching.detectors.detector_registry import LimitedDetector, detector_of
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.topology import Topology, read_topology
from crossreid.watching.tracking.tracking_options import TrackingOptions
from crossreid.watching.video.camera_file import cameras_of
from crossreid.watching.video.reading_options import ReadingOptions
from crossreid.watching.watch_file import content_of

Section = TypeVar("Section", bound=Options)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The settings of a watch, as given.

    sources: films, folders of frames and addresses, each `[NAME=]SOURCE[#KEY=VALUE,...]`; camera_file: a cameras.yaml
    with more. model: a run, an exported file, or a network that was not trained here. gallery: a gallery of that model;
    without one, nobody is known. detector: as for `detector_of`, with its weights, classes, minimum score and size
    (height, width). tracking, matching, reading: options by key. device: the device of all networks. calibration: a run
    or a file with one, instead of that of the model or the gallery.
    """

    sources: tuple[str, ...]
    model: Path | PretrainedNetwork
    camera_file: Path | None = None
    gallery: str | None = None
    topology: Path | None = None
    detector: str = "background"
    weights: Path | None = None
    classes: tuple[str, ...] = ()
    minimum_score: float | None = None
    minimum_size: tuple[int, int] | None = None
    tracking: Mapping[str, Any] = field(default_factory=dict)
    matching: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    keep_images: bool = True
    device: str | None = None
    calibration: Path | None = None


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """The parsed settings of a watch. live: whether frames come as they arrive rather than by their times."""

    settings: WatchSettings
    cameras: tuple[Camera, ...]
    detectors: tuple[LimitedDetector, ...]
    topology: Topology
    tracking: TrackingOptions
    matching: MatchingOptions
    reading: ReadingOptions
    live: bool

    @classmethod
    def of(cls, settings: WatchSettings) -> WatchPlan:
        """Parse settings.

        Raises:
            CrossreidError: an unusable setting.
        """
        tracking = options_of(TrackingOptions, settings.tracking, "tracking")
        matching = options_of(MatchingOptions, settings.matching, "matching")
        reading = options_of(ReadingOptions, settings.reading, "reading")
        if matching.absent_after <= 2 * tracking.again_after:
            raise DataError(
                f"matching.absent_after {matching.absent_after:g}: expected more than twice tracking.again_after "
                f"({tracking.again_after:g}), or people would leave while in view."
            )
        cameras = cameras_of(settings.sources, settings.camera_file)
        topology = Topology() if settings.topology is None else read_topology(settings.topology)
        topology.check_cameras([camera.name for camera in cameras])
        made = detector_of(
            settings.detector, weights=settings.weights, classes=settings.classes,
            minimum_score=settings.minimum_score, minimum_size=settings.minimum_size, device=settings.device,
        )  # fmt: skip
        live = reading.real_time or any(is_address(camera.source) for camera in cameras)
        detectors = tuple(made(camera) for camera in cameras)
        return cls(settings, cameras, detectors, topology, tracking, matching, reading, live)

    def facts(self, model: str, calibration: str | None) -> dict[str, Any]:
        """The content of watch.json: the model by fingerprint, files by their content, addresses without passwords."""
        settings = self.settings
        return {
            "cameras": {
                camera.name: {
                    "source": shown_source(camera.source), "light": camera.light, "offset": camera.offset,
                    "start": camera.start, "frame_rate": camera.frame_rate,
                }
                for camera in self.cameras
            },
            "settings": {
                "model": model, "calibration": calibration, "gallery": settings.gallery,
                "topology": content_of(settings.topology), "detector": content_of(Path(settings.detector)),
                "weights": content_of(settings.weights), "classes": list(settings.classes),
                "minimum_score": settings.minimum_score,
                "minimum_size": None if settings.minimum_size is None else list(settings.minimum_size),
                "keep_images": settings.keep_images, "tracking": self.tracking.model_dump(mode="json"),
                "matching": self.matching.model_dump(mode="json"), "reading": self.reading.model_dump(mode="json"),
            },
        }  # fmt: skip


def options_of(section: type[Section], given: Mapping[str, Any], what: str) -> Section:
    """A section of options from user input.

    Raises:
        DataError: an unknown key or an invalid value; the message names it.
    """
    try:
        return section.model_validate(dict(given))
    except ValidationError as error:
        raise DataError(f"{what}: {' '.join(explained(error, dict(given), section))}") from error
