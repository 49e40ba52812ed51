"""API keys: who the client is and what it may do. The file holds digests, so reading it reveals no key.

A key is 32 random bytes, which cannot be guessed: one round of SHA-256 hides it as well as a slow hash would. A key is
compared with every known one in constant time, so timing reveals nothing about any of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from crossreid.errors import CrossreidError
from crossreid.files import write_durably

_log = logging.getLogger("crossreid.service")
_PREFIX = "crossreid_"

Role = Literal["search", "enrol", "watch", "merge", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Key:
    """Who holds it, what they may do, and until when: times are ISO 8601 UTC, `expires` is None for never."""

    name: str
    roles: tuple[Role, ...]
    sha256: str
    created: str
    expires: str | None = None

    def may(self, role: Role) -> bool:
        return role in self.roles or "admin" in self.roles

    def is_current(self, now: datetime) -> bool:
        return self.expires is None or now < datetime.fromisoformat(self.expires)


class Keys:
    """The keys of a file, reread when it changes: a removed key is refused from then on.

    Raises:
        CrossreidError: the file is missing, damaged, or has no key; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        if not self._keys:
            raise CrossreidError(
                f"{path} holds no key, so nobody could use the service. Add one: `crossreid keys add`."
            )

    def find(self, given: str) -> Key | None:
        """The key whose text is `given`, if there is one and it has not expired."""
        self._refresh()
        digest = _digest(given)
        found = None
        for key in self._keys:  # all of them, even after a match
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found if found is not None and found.is_current(datetime.now(UTC)) else None

    def _refresh(self) -> None:
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        with self._lock:
            if stamp == self._stamp:
                return
            try:
                self._keys, self._stamp = read_keys(self.path), stamp
            except CrossreidError as error:
                if self._keys:
                    _log.error("nobody is served from now on: %s", error)
                self._keys = []  # clients that cannot be identified are not served
                # A file that cannot be read now may be readable next time without having changed.
                self._stamp = None if isinstance(error.__cause__, OSError) else stamp


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. Raises `CrossreidError` naming the file if it is missing or damaged."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = [Key(**{**key, "roles": tuple(key["roles"])}) for key in given]
        for key in keys:
            _check(key.name, key.roles)
            key.is_current(datetime.now(UTC))
            if len(bytes.fromhex(key.sha256)) != 32:
                raise CrossreidError("a digest has the wrong length")
    except FileNotFoundError as error:
        raise CrossreidError(
            f"{path} not found. Make it: `crossreid keys add NAME --role search --file {path}`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CrossreidError(f"{path} is not a key file written by `crossreid keys` ({error}).") from error
    return keys


def add_key(path: Path, name: str, roles: Sequence[str], days: float | None = None) -> str:
    """Make a key, keep its digest in the file, and return its text, which cannot be recovered later.

    Raises:
        CrossreidError: an unknown role, a name that is taken or invalid, a file that is not a key file.
    """
    _check(name, roles)
    if days is not None and not 0 < days <= 36_500:
        raise CrossreidError(
            f"days {days:g}: expected more than 0 and at most 36500; leave it out for a key that never expires."
        )
    with _changing(path):
        keys = read_keys(path) if path.exists() else []
        if any(key.name == name for key in keys):
            raise CrossreidError(f"{path} already has a key {name!r}; remove it first, or choose another name.")
        now = datetime.now(UTC).replace(microsecond=0)
        expires = None if days is None else (now + timedelta(days=days)).isoformat()
        text = _PREFIX + secrets.token_urlsafe(32)
        held: tuple[Role, ...] = tuple(role for role in ROLES if role in roles)
        _write(path, [*keys, Key(name, held, _digest(text), now.isoformat(), expires)])
    return text


def remove_key(path: Path, name: str) -> None:
    """Remove a key from the file. Raises `CrossreidError` if there is none of that name."""
    read_keys(path)  # without a file, no lock is made
    with _changing(path):
        keys = read_keys(path)
        if all(key.name != name for key in keys):
            raise CrossreidError(f"{path} has no key {name!r}; it has {', '.join(key.name for key in keys) or 'none'}.")
        _write(path, [key for key in keys if key.name != name])


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One process at a time changes the file, as each rewrites what it has read. The lock is on the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CrossreidError(f"{path} cannot be written ({error.strerror}); choose another --file.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _check(name: str, roles: Sequence[str]) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
        raise CrossreidError(f"name {name[:100]!r}: expected printable text of at most 100 characters.")
    if not roles:
        raise CrossreidError(f"key {name!r}: expected one or more roles of {', '.join(ROLES)}.")
    for role in roles:
        if role not in ROLES:
            raise CrossreidError(f"role {role!r}: expected {', '.join(ROLES)}.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _write(path: Path, keys: Sequence[Key]) -> None:
    """Write the file atomically, readable by its owner only."""
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2, ensure_ascii=False)
    write_durably(path, [text.encode()], private=True)
