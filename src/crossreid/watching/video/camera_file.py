"""Cameras as specified by users: on a command line, and in a file `cameras.yaml` with the options of each.

cameras:
  - source: gate.mp4            # paths count from the file's folder
  - name: yard
    source: rtsp://10.0.0.7/stream1
    modality: infrared          # visible, infrared or auto
    offset: -1.5                # seconds added to its clock
    start: 2026-11-21T08:30:00Z # when its first frame was taken; also seconds since 1970
    frame_rate: 12.5            # of a folder of frames
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from crossreid.data.records import DataError, iso_seconds
from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.runs.yaml_text import YamlError, read_yaml
from crossreid.watching.cameras import (
    Camera,
    CameraLight,
    is_address,
    name_of_source,
    numbered,
    shown_source,
    split_argument,
)

Section = TypeVar("Section", bound=Options)


class CameraOptions(Options):
    """The options of one camera."""

    source: str = Field(min_length=1, description="A video file, a folder of frames, or the address of a stream.")
    name: str = Field(
        min_length=1, description="Name used in events; by default derived from its file, folder or address."
    )
    modality: CameraLight = Field("auto", description="`auto` decides by the picture's chroma, frame by frame.")
    offset: float = Field(0.0, description="Seconds added to its clock.")
    start: float | None = Field(None, description="When its first frame was taken: ISO 8601, or seconds since 1970.")
    frame_rate: float | None = Field(None, gt=0, le=1000, description="Frames per second of a folder of frames.")

    @field_validator("start", mode="before")
    @classmethod
    def _as_seconds(cls, start: Any) -> Any:
        if isinstance(start, date) and not isinstance(start, datetime):
            start = datetime(start.year, start.month, start.day)
        if isinstance(start, str):
            try:
                return float(start)
            except ValueError:
                return iso_seconds(start)
        return iso_seconds(start) if isinstance(start, datetime) else start

    @model_validator(mode="before")
    @classmethod
    def _with_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("source"), str) and given.get("name") is None:
            return {**given, "name": name_of_source(given["source"])}
        return given

    @model_validator(mode="after")
    def _rate_of_a_folder(self) -> Self:
        if self.frame_rate is not None and not Path(self.source).is_dir():
            raise CrossreidError(
                f"frame_rate is for folders of frames; {shown_source(self.source)} is not one, and states its own"
            )
        return self

    def fields(self) -> dict[str, Any]:
        """The fields of its `Camera`, without the number."""
        values = self.model_dump(exclude={"modality"})
        return {**values, "light": self.modality}


class CameraFile(Options):
    """The content of a cameras.yaml."""

    cameras: tuple[CameraOptions, ...] = Field(min_length=1, description="The cameras, in the order of their numbers.")


def cameras_of(sources: Sequence[str], camera_file: Path | None = None) -> tuple[Camera, ...]:
    """The cameras of a file, then those of a command's arguments, numbered from 1.

    Args:
        sources: each `[NAME=]SOURCE[#KEY=VALUE,...]`, with keys as in a cameras.yaml.

    Raises:
        DataError: no cameras, an unusable file, an unknown key, an invalid value, an invalid or duplicate name, or a
            missing source.
    """
    fields = [] if camera_file is None else [options.fields() for options in _of_file(camera_file)]
    for text in sources:
        name, source, options = split_argument(text)
        for key in ("name", "source"):
            if key in options:
                raise DataError(f"source {shown_source(source)!r}: the {key} is given by NAME=SOURCE, not after #.")
        given = {**options, "source": source, **({} if name is None else {"name": name})}
        fields.append(_checked(CameraOptions, given, f"source {shown_source(source)!r}").fields())
    if not fields:
        raise DataError(
            "no camera: expected sources (video files, folders of frames, addresses of streams) or a file of cameras."
        )
    return numbered(fields)


def cameras_in(path: Path) -> tuple[Camera, ...]:
    """The cameras of a cameras.yaml, numbered from 1. Raises `DataError` as `cameras_of`."""
    return cameras_of((), path)


def _of_file(path: Path) -> tuple[CameraOptions, ...]:
    try:
        content = read_yaml(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path} not found. Expected a file of cameras, as shown in docs/video.md.") from error
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise DataError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected `cameras:` and a list below it, found {type(content).__name__}.")
    listed = content.get("cameras")
    if isinstance(listed, list):
        content = {**content, "cameras": [_beside(camera, Path(path).parent) for camera in listed]}
    return _checked(CameraFile, content, str(path)).cameras


def _beside(camera: Any, folder: Path) -> Any:
    """The options of a camera, with its source's path relative to the file's folder."""
    if isinstance(camera, str):
        camera = {"source": camera}
    if not isinstance(camera, dict) or not isinstance(camera.get("source"), str) or is_address(camera["source"]):
        return camera
    return {**camera, "source": str(folder / camera["source"])}


def _checked(section: type[Section], given: Mapping[str, Any], where: str) -> Section:
    try:
        return section.model_validate(given)
    except ValidationError as error:
        from crossreid.runs.faults import explained  # imports torch, which the processes that read cameras do not need

        raise DataError(f"{where}: {' '.join(explained(error, dict(given), section))}") from error
