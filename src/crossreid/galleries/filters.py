"""Filters: conditions on an entry's fields, which must all hold. Each backend has its own query language for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.galleries.values import camera_of, check_texts, modality_of, utc_seconds


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that an entry must all meet. Raises `CrossreidError` for ones that nothing could meet.

    `since` <= time < `until`, which an entry without a time never meets; `cameras`: any of them; `source` must match
    exactly, `source_prefix` from the start, both case-sensitively. `added_until`: added to the gallery before that
    time.
    """

    identity: str | None = None
    cameras: tuple[int, ...] | None = None
    modality: Modality | None = None
    since: float | None = None
    until: float | None = None
    source: str | None = None
    source_prefix: str | None = None
    added_until: float | None = None

    def __post_init__(self) -> None:
        if self.cameras is not None:
            cameras = tuple(sorted({camera_of(camera) for camera in self.cameras}))
            if not cameras:
                raise CrossreidError("filter: cameras is empty, so nothing could match; leave it out, or name some.")
            object.__setattr__(self, "cameras", cameras)
        if self.modality is not None:
            object.__setattr__(self, "modality", modality_of(self.modality))
        for name in ("since", "until", "added_until"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, utc_seconds(value))
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise CrossreidError(
                f"filter: since {self.since} is not before until {self.until}, so nothing could match."
            )
        for name, kind in (("identity", "identity"), ("source", "source"), ("source_prefix", "source")):
            value = getattr(self, name)
            if value is not None:
                check_texts([value], kind)
        if self.identity == "":
            raise CrossreidError("filter: an identity is never empty; leave it out, or name one.")

    @property
    def is_empty(self) -> bool:
        """Whether every entry meets it."""
        return self == Filter() or self == Filter(source_prefix="")

    @property
    def of_texts(self) -> bool:
        """Whether it compares an identity or a source, not only numbers."""
        return self.identity is not None or self.source is not None or bool(self.source_prefix)


def filter_of_texts(
    *,
    identity: str | None = None,
    cameras: Sequence[int] | None = None,
    modality: str | None = None,
    since: str | None = None,
    until: str | None = None,
    source: str | None = None,
    source_prefix: str | None = None,
    added_until: str | None = None,
) -> Filter:
    """A filter from user input: a modality by name, times in ISO 8601. No cameras means no condition.

    Raises `CrossreidError` for invalid modalities or times, and as `Filter`.
    """
    return Filter(
        identity=identity,
        cameras=tuple(cameras) if cameras else None,
        modality=None if modality is None else modality_of(modality),
        since=None if since is None else utc_seconds(since),
        until=None if until is None else utc_seconds(until),
        source=source,
        source_prefix=source_prefix,
        added_until=None if added_until is None else utc_seconds(added_until),
    )


def prefix_end(prefix: str) -> str | None:
    """The first text after all that start with `prefix`, in code point and UTF-8 order; None if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # surrogates are not characters
        prefix = prefix[:-1]
    return None
