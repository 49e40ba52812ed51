"""A watched camera: its name, the source of its frames, its light (modality), and the offset of its clock.

Commands specify a camera as `[NAME=]SOURCE[#KEY=VALUE,...]`; `camera_file` reads several with their options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from crossreid.data.records import DataError

CameraLight = Literal["visible", "infrared", "auto"]
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.+)", re.S)
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt", "udp", "tcp", "rtp")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera.

    name: as in events and pages; letters, digits, `-`, `_` and `.`, so that it can be a file name. number: from 1, as
    in galleries. source: a video file, a folder of frames, or the address of a stream. light: the modality of its
    frames; `auto` decides by the picture's chroma, and follows the camera's switches. offset: seconds added to its
    clock, so that the cameras' times agree. start: when its first frame was taken, seconds since 1970 UTC; None: as
    stated in the file, else 0; for a live stream, now. frame_rate: frames per second of a folder of frames, which does
    not state it; None: 25.

    Raises `DataError` for an invalid name.
    """

    name: str
    number: int
    source: str
    light: CameraLight = "auto"
    offset: float = 0.0
    start: float | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise DataError(
                f"camera {self.name!r}: expected a name of letters, digits, -, _ and ., at most 64, starting with a letter or "
                "a digit. Name it: NAME=SOURCE."
            )


def is_address(source: str) -> bool:
    """Whether a source is the address of a stream rather than a path."""
    return ADDRESS.fullmatch(source) is not None


def shown_source(source: str) -> str:
    """A source as shown in messages, logs and settings files: an address without user, password and query."""
    address = ADDRESS.fullmatch(source)
    if address is None:
        return source
    place, slash, path = address["rest"].partition("/")
    return f"{address['scheme']}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def name_of_source(source: str) -> str:
    """A default name for a camera: from its file without the suffix, its folder, or its address.

    Raises:
        DataError: no name can be derived from it.
    """
    if is_address(source):
        parts = urlsplit(shown_source(source))
        text = f"{parts.hostname or ''}{parts.path.rstrip('/')}"
    else:
        path = Path(source).absolute()
        text = path.name if path.is_dir() else path.stem
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:64]
    if not name:
        raise DataError(f"source {shown_source(source)!r} suggests no camera name. Name it: NAME=SOURCE.")
    return name


def split_argument(text: str) -> tuple[str | None, str, dict[str, str]]:
    """The name (None if not given), the source and the options of `[NAME=]SOURCE[#KEY=VALUE,...]`.

    Text that exists as a path is taken as one, whatever characters it has; so is the part after a name.

    Raises:
        DataError: the source is empty, or an option is not KEY=VALUE.
    """
    name, source = None, text.strip()
    before, equals, behind = source.partition("=")
    if equals and NAME.fullmatch(before) and not _exists(source.partition("#")[0]) and not _exists(source):
        name, source = before, behind.strip()
    options: dict[str, str] = {}
    if "#" in source and not _exists(source):
        source, _, said = source.rpartition("#")
        for part in said.split(","):
            key, equals, value = part.partition("=")
            if not equals or not key.strip() or not value.strip():
                raise DataError(f"source {shown_source(source)!r}: expected #KEY=VALUE,KEY=VALUE; found {part!r}.")
            if key.strip() in options:
                raise DataError(f"source {shown_source(source)!r}: {key.strip()!r} is given twice.")
            options[key.strip()] = value.strip()
    if not source:
        raise DataError(f"source {text!r}: expected a video file, a folder of frames or the address of a stream.")
    return name, source, options


def check_source(source: str, camera: str) -> None:
    """Raise `DataError` for a path that does not exist, or an address of an unsupported kind."""
    address = ADDRESS.fullmatch(source)
    if address is None:
        if not _exists(source):
            raise DataError(
                f"camera {camera!r}: {source} not found. Expected a video file, a folder of frames or the address of a stream."
            )
    elif address["scheme"].lower() not in SCHEMES:
        raise DataError(
            f"camera {camera!r}: expected an address of {', '.join(SCHEMES)}; found {shown_source(source)}."
        )


def numbered(cameras: Iterable[Mapping[str, Any]]) -> tuple[Camera, ...]:
    """Cameras from their fields, numbered from 1 in the given order.

    Raises:
        DataError: two have the same name, or differ only in case, which file names must not; or a source cannot be
            read.
    """
    made: list[Camera] = []
    taken: dict[str, Camera] = {}
    for number, fields in enumerate(cameras, start=1):
        camera = Camera(number=number, **fields)
        check_source(camera.source, camera.name)
        other = taken.get(camera.name.lower())
        if other is not None:
            raise DataError(
                f"two cameras are called {camera.name!r}: {shown_source(other.source)} and {shown_source(camera.source)}. "
                "Name them: NAME=SOURCE."
            )
        taken[camera.name.lower()] = camera
        made.append(camera)
    return tuple(made)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # name too long, or a zero byte
        return False
