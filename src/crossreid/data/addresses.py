"""Addresses: objects of stores (S3, GCS and what else fsspec knows) in the place of paths of files.

A path and an address are told apart here and nowhere else: `place_of` makes either of a text. `pathlib` would collapse the
slashes of `s3://bucket/key` and read `..` out of keys, so an address is a class of its own. It answers to the words of a path
that records need, and to nothing that would ask the local file system: what only works with files asks for `Record.file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from crossreid.data import object_storage
from crossreid.data.records import DataError
from crossreid.files import write_durably

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: one is a drive
UNKNOWN = (-1, -1)


@dataclass(frozen=True, slots=True)
class Address:
    """An object in a store, or a prefix of objects: SCHEME://BUCKET/KEY, as it is written.

    `state` is (size in bytes, a number of its version), as a listing said them; (-1, -1) where none did.
    """

    text: str
    state: tuple[int, int] = field(default=UNKNOWN, compare=False)

    def __str__(self) -> str:
        return self.text

    def as_posix(self) -> str:
        """The address itself."""
        return self.text

    @property
    def name(self) -> str:
        """What stands behind the last slash."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """From the name's last point on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Address:
        """The prefix that it lies below; of a bucket itself."""
        above = self.text.rstrip("/").rpartition("/")[0]
        return Address(above) if _SCHEME.match(above + "/") and not above.endswith("/") else self

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.text.rstrip('/')}/{name}")

    def absolute(self) -> Address:
        """The address itself: there are no relative ones."""
        return self

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return object_storage.is_object(self.text)

    def exists(self) -> bool:
        """Whether there is an object of this name, or one below it."""
        return self.is_file() or self.is_dir()

    def is_dir(self) -> bool:
        """Whether there is an object below it."""
        return bool(self.names())

    def names(self) -> list[str]:
        """Names of the objects and prefixes directly below it, in their order."""
        return sorted(found.name for found in object_storage.listed(self.text))

    def read_bytes(self) -> bytes:
        """The whole object."""
        return object_storage.read(self.text)

    def write_bytes(self, pieces: Iterable[bytes], *, new: bool = False) -> None:
        """Write the object, whole or not at all; with `new` raise FileExistsError where there is one."""
        object_storage.write(self.text, pieces, new=new)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        object_storage.delete(self.text, missing_ok=missing_ok)


Place = Path | Address


def is_address(text: str) -> bool:
    """Whether a text is an address and no path: SCHEME:// at its beginning, of two letters or more."""
    return _SCHEME.match(text) is not None


def place_of(given: str | Place) -> Place:
    """What a text means: an address where it has a scheme, else a path; `file://` is a path too.

    Raises:
        DataError: an address without a bucket, several addresses chained, or a `file://` of another machine.
    """
    if not isinstance(given, str):
        return given
    if not is_address(given):
        return Path(given)
    scheme, _, rest = given.partition("://")
    if "::" in given:
        raise DataError(f"{given}: addresses chained by :: are not read. Expected SCHEME://BUCKET/KEY.")
    if scheme.lower() == "file":
        parts = urlsplit(given.replace("?", "%3F").replace("#", "%23"))
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise DataError(f"{given}: expected file:///PATH, of this machine.")
        return Path(unquote(parts.path))
    if not rest.strip("/"):
        raise DataError(f"{given}: expected {scheme}://BUCKET/PREFIX, found no bucket.")
    return Address(f"{scheme.lower()}://{rest.lstrip('/')}")


def write_whole(place: Place, pieces: Iterable[bytes]) -> None:
    """Write a file that survives a power cut, or an object; whole or not at all."""
    if isinstance(place, Address):
        place.write_bytes(pieces)
    else:
        write_durably(place, pieces)


def names_in(place: Place) -> list[str]:
    """The names in a folder or directly below an address, in their order; none where there is nothing."""
    if isinstance(place, Address):
        return place.names()
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def objects_below(place: Address) -> Iterator[Address]:
    """All objects below an address, at any depth, each with its state, in no order."""
    for found in object_storage.listed(place.text, deep=True):
        yield Address(f"{place.text.rstrip('/')}/{found.name}", found.state)


def with_states(places: Iterable[Address]) -> tuple[list[Address], str]:
    """Addresses with the states that listings of the prefixes they lie in say; why some have none, '' where all were listed.

    Each prefix is listed once. Where a store does not let it be listed, states stay unknown.
    """
    places = list(places)
    states: dict[str, tuple[int, int]] = {}
    why = ""
    parents = list(dict.fromkeys(place.parent.text for place in places))
    for parent, found in zip(parents, object_storage.in_threads(_listed_or_why, parents), strict=True):
        if isinstance(found, str):
            why = why or found
            continue
        states |= {f"{parent}/{one.name}": one.state for one in found if not one.prefix}
    return [Address(place.text, states.get(place.text, UNKNOWN)) for place in places], why


def _listed_or_why(parent: str) -> list[object_storage.Listed] | str:
    try:
        return list(object_storage.listed(parent))
    except object_storage.Denied as error:
        return str(error)
