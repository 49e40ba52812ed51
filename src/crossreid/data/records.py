"""Records: what an image shows, and how a data set is split. Readers return them; loaders and protocols take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crossreid.errors import CrossreidError

if TYPE_CHECKING:
    from crossreid.data.addresses import Place


class DataError(CrossreidError):
    """A data set, list or image that cannot be used as it is; the message says what to do."""


class Modality(IntEnum):
    """The kind of light in which an image was taken; in tensors an int64 `(B,)`."""

    VISIBLE = 0
    INFRARED = 1


VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
# The values of a 16-bit picture that become black and white; None for its upper 8 bits.
PictureLevels = tuple[int, int] | Literal["picture"] | None


@dataclass(frozen=True, slots=True)
class Record:
    """One image: where it is and what is known about it.

    `path` is a file's, or the address of an object in a store (`crossreid.data.addresses`). `identity` is the data
    set's own name for who or what is seen; `camera` is 0 if unknown. `pseudo_infrared` marks a visible photograph to be
    converted to an infrared-like one when it is read; its `modality` is then INFRARED. `tracklet` names the image's
    tracklet among those of its identity and camera; `frame` is its position in that camera's time, -1 if unknown;
    `attributes` are other facts about the identity, as pairs (colour, red). `box` (left, top, right, bottom, pixels) is
    the part of the picture that is the image; without it, the whole. `time` is when it was taken, in seconds since 1970
    UTC, None if unknown. `levels` says how a 16-bit picture becomes 8-bit (`crossreid.data.levels`). `source` names its
    data set, if there are several.
    """

    path: Place
    identity: str
    camera: int = 0
    modality: Modality = VISIBLE
    tracklet: str | None = None
    pseudo_infrared: bool = False
    frame: int = -1
    attributes: tuple[tuple[str, str], ...] = ()
    box: tuple[int, int, int, int] | None = None
    time: float | None = None
    levels: PictureLevels = None
    source: str = ""

    @property
    def file(self) -> Path:
        """Return the path if the picture is a file. Raises `DataError` if it is an object in a store."""
        if isinstance(self.path, Path):
            return self.path
        raise DataError(f"{self.path} is not a file; only `crossreid embed` reads object storage. Copy it here first.")

    @property
    def name(self) -> str:
        """Return the picture's path; for a part of it with the box as a media fragment,
        `PATH#xywh=LEFT,TOP,WIDTH,HEIGHT`.
        """
        if self.box is None:
            return self.path.as_posix()
        left, top, right, bottom = self.box
        return f"{self.path.as_posix()}#xywh={left},{top},{right - left},{bottom - top}"


@dataclass(frozen=True, slots=True)
class Split:
    """A data set split into parts: the identities of `train`, `validation` and the test (`query`, `gallery`) are
    disjoint.

    `validation` holds images of both roles; the protocol named by `protocol` (see
    `crossreid.evaluation.protocols.PROTOCOLS`) distinguishes query from gallery. Each part is sorted by (identity,
    camera, path). `sources` are the data sets that it joins, by name, each as it is tested by itself; empty for an
    ordinary one.
    """

    name: str
    root: Path
    protocol: str
    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    validation: tuple[Record, ...] = ()
    trial: int | None = None
    notes: tuple[str, ...] = field(default=())
    sources: tuple[tuple[str, Split], ...] = ()

    @property
    def test(self) -> tuple[Record, ...]:
        """Return query and gallery images together, each once, in the canonical order."""
        return tuple(in_order({*self.query, *self.gallery}))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records sorted by (identity, camera, path, box): the order in which ties are broken and permutations
    count.

    Identities that are whole numbers sort numerically, before all others.
    """

    def key(record: Record) -> tuple[int, int, str, int, str, tuple[int, ...]]:
        number = int(record.identity) if record.identity.isdecimal() else -1
        return (
            0 if number >= 0 else 1,
            number,
            record.identity,
            record.camera,
            record.path.as_posix(),
            record.box or (),
        )

    return sorted(records, key=key)


def labels_of(records: Sequence[Record]) -> dict[str, int]:
    """Map identities to training labels, 0-based and contiguous, in the canonical order of identities."""
    return {identity: label for label, identity in enumerate(dict.fromkeys(r.identity for r in in_order(records)))}


def iso_seconds(time: str | datetime) -> float:
    """Return ISO 8601 text or a datetime, UTC if without a zone, as seconds since 1970 UTC. Raises `CrossreidError`."""
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError as error:
        raise CrossreidError(f"time is {time!r}, expected ISO 8601, for example 2026-11-21T08:30:00Z.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
