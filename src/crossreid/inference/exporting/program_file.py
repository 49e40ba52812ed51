"""torch.export files (.pt2), archives of named parts: the digest of all parts, and the facts as a further part."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.inference.exporting.exported_file import KEY, text_of_facts

_EXTRA = "/extra/"


def state_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts into an archive, replacing existing ones."""
    bare = path.with_name(f"{path.stem}.bare{path.suffix}")
    with zipfile.ZipFile(path) as given:
        said = text_of_facts(facts, _digest(given))
        root = given.namelist()[0].partition("/")[0]
        kept = [entry for entry in given.infolist() if entry.filename != f"{root}{_EXTRA}{KEY}"]
        with zipfile.ZipFile(bare, "w", zipfile.ZIP_STORED) as written:
            for entry in kept:
                written.writestr(entry, given.read(entry))
            written.writestr(zipfile.ZipInfo(f"{root}{_EXTRA}{KEY}"), said)
    os.replace(bare, path)


def read_said(path: Path) -> tuple[str | None, str]:
    """Return the text of an archive under `crossreid` (None if absent), and the digest of its other parts.

    Raises:
        CrossreidError: no such file, or it is damaged or not an archive.
    """
    if not path.is_file():
        raise CrossreidError(f"{path} not found. Expected a file that `crossreid export --to torch-export` wrote.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"{_EXTRA}{KEY}")]
            said = archive.read(names[0]).decode("utf-8", "replace") if len(names) == 1 else None
            return said, _digest(archive)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise CrossreidError(f"{path} cannot be opened by torch.export ({error}). Export it again.") from error


def _digest(archive: zipfile.ZipFile) -> str:
    """Return the hexadecimal SHA-256 of the names and contents of all parts but the facts, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(archive.namelist()):
        if not name.endswith(f"{_EXTRA}{KEY}"):
            content = archive.read(name)
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()
