"""Addresses: objects in stores (S3, GCS and others that fsspec knows) instead of file paths.

Paths and addresses are told apart only here: `place_of` makes either from a text. `pathlib` would collapse the slashes
of `s3://bucket/key` and interpret `..` in keys, so an address is a separate class. It has the methods of a path that
records need, and none that would access the local file system: code that works only with files uses `Record.file`.
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

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: one letter is a drive
UNKNOWN = (-1, -1)


@dataclass(frozen=True, slots=True)
class Address:
    """An object in a store, or a prefix of objects: SCHEME://BUCKET/KEY, as written.

    `state` is (size in bytes, a version number), from a listing; (-1, -1) if there was none.
    """

    text: str
    state: tuple[int, int] = field(default=UNKNOWN, compare=False)

    def __str__(self) -> str:
        return self.text

    def as_posix(self) -> str:
        """Return the address itself."""
        return self.text

    @property
    def name(self) -> str:
        """Return the part after the last slash."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Return the name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Return the name from its last dot on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Address:
        """Return the prefix that contains it; for a bucket, itself."""
        above = self.text.rstrip("/").rpartition("/")[0]
        return Address(above) if _SCHEME.match(above + "/") and not above.endswith("/") else self

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.text.rstrip('/')}/{name}")

    def absolute(self) -> Address:
        """Return the address itself: there are no relative addresses."""
        return self

    def is_file(self) -> bool:
        """Return whether there is an object of this name."""
        return object_storage.is_object(self.text)

    def exists(self) -> bool:
        """Return whether there is an object of this name, or one below it."""
        return self.is_file() or self.is_dir()

    def is_dir(self) -> bool:
        """Return whether there is an object below it."""
        return bool(self.names())

    def names(self) -> list[str]:
        """Return the names of the objects and prefixes directly below it, in order."""
        return sorted(found.name for found in object_storage.listed(self.text))

    def read_bytes(self) -> bytes:
        """Return the whole object."""
        return object_storage.read(self.text)

    def write_bytes(self, pieces: Iterable[bytes], *, new: bool = False) -> None:
        """Write the object, whole or not at all; with `new`, raise FileExistsError if it exists."""
        object_storage.write(self.text, pieces, new=new)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        object_storage.delete(self.text, missing_ok=missing_ok)


Place = Path | Address


def is_address(text: str) -> bool:
    """Return whether a text is an address, not a path: it starts with SCHEME:// of two letters or more."""
    return _SCHEME.match(text) is not None


def place_of(given: str | Place) -> Place:
    """Interpret a text: an address if it has a scheme, else a path; `file://` is a path too.

    Raises:
        DataError: an address without a bucket, several addresses chained, or a `file://` of another machine.
    """
    if not isinstance(given, str):
        return given
    if not is_address(given):
        return Path(given)
    scheme, _, rest = given.partition("://")
    if "::" in given:
        raise DataError(f"{given}: addresses chained with :: are not supported. Expected SCHEME://BUCKET/KEY.")
    if scheme.lower() == "file":
        parts = urlsplit(given.replace("?", "%3F").replace("#", "%23"))
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise DataError(f"{given}: expected file:///PATH on this machine.")
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
    """Return the names in a folder or directly below an address, in order; none if there is nothing."""
    if isinstance(place, Address):
        return place.names()
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def objects_below(place: Address) -> Iterator[Address]:
    """Yield all objects below an address, at any depth, each with its state, in no particular order."""
    for found in object_storage.listed(place.text, deep=True):
        yield Address(f"{place.text.rstrip('/')}/{found.name}", found.state)


def with_states(places: Iterable[Address]) -> tuple[list[Address], str]:
    """Return addresses with states from listings of their prefixes, and why some have none, '' if all were listed.

    Each prefix is listed once. If a store does not allow that, states stay unknown.
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
