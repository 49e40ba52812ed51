"""Records: what an image is of, and how a data set is divided. Readers return them; loaders and protocols take them."""

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
    """A data set, list or image that cannot be used as it is; the message says what to do about it."""


class Modality(IntEnum):
    """The kind of light an image was taken in; in tensors an int64 `(B,)`."""

    VISIBLE = 0
    INFRARED = 1


VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
# The values of a 16-bit picture that become black and white; None for its upper 8 bits, whatever they hold.
PictureLevels = tuple[int, int] | Literal["picture"] | None


@dataclass(frozen=True, slots=True)
class Record:
    """One image: where it is and what is known of it.

    `path` is a file's, or the address of an object in a store (`crossreid.data.addresses`).
    `identity` is the data set's own name for who or what is seen; `camera` is 0 where cameras are unknown.
    `pseudo_infrared` marks a visible photograph that is to be turned into an infrared-like one when it is read;
    its `modality` is then INFRARED. `tracklet` names the film that the image is of, among those of its identity and
    camera; `frame` is its position in that camera's time, -1 where unknown; `attributes` are what the data set says of the
    identity beyond its name, as pairs (colour, red). `box` (left, top, right, bottom, pixels) is the part of the picture
    that is the image; without it, the whole. `time` is when it was taken, seconds since 1970 UTC, None where unknown. `levels` say
    how a picture of 16 bits becomes 8 (`crossreid.data.levels`). `source` names the data set it is of, where there are several.
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
        """The path, where the picture is a file. Raises `DataError` where it is an object in a store."""
        if isinstance(self.path, Path):
            return self.path
        raise DataError(f"{self.path} is no file; only `crossreid embed` reads object storage. Copy it here first.")

    @property
    def name(self) -> str:
        """The picture's path; of a part of it with the box as a media fragment, `PATH#xywh=LEFT,TOP,WIDTH,HEIGHT`."""
        if self.box is None:
            return self.path.as_posix()
        left, top, right, bottom = self.box
        return f"{self.path.as_posix()}#xywh={left},{top},{right - left},{bottom - top}"


@dataclass(frozen=True, slots=True)
class Split:
    """A data set, divided: identities of `train`, `validation` and the test (`query`, `gallery`) are disjoint.

    `validation` holds images of both roles; the protocol named by `protocol` (see
    `crossreid.evaluation.protocols.PROTOCOLS`) tells query from gallery. Each is sorted by (identity, camera, path).
    `sources` are the data sets that it joins, by name, each as it is tested by itself; none of an ordinary one.
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
        """Query and gallery images together, each once, in the canonical order."""
        return tuple(in_order({*self.query, *self.gallery}))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records sorted by (identity, camera, path, box): the order by which ties are broken and permutations count.

    Identities that are whole numbers sort as numbers, before all others.
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
    """Identity to training label, 0-based and contiguous, in the canonical order of identities."""
    return {identity: label for label, identity in enumerate(dict.fromkeys(r.identity for r in in_order(records)))}


def iso_seconds(time: str | datetime) -> float:
    """Seconds since 1970 UTC of ISO 8601 text or of a datetime; without a zone they are UTC. Raises `CrossreidError`."""
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError as error:
        raise CrossreidError(f"time is {time!r}, expected ISO 8601, for example 2026-11-21T08:30:00Z.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
