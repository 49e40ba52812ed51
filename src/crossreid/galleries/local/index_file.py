"""The file of an index, beside the database that names it: it is only read if it is complete and unchanged.

It is written under another name, synchronised and renamed; the database stores its size and SHA-256.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.files import replacing, sha256_of
from crossreid.galleries.index_options import IndexOptions
from crossreid.galleries.local.faiss_index import ServedIndex


def write(served: ServedIndex, folder: Path, name: str) -> dict[str, Any]:
    """Write an index to a file that gets its name once complete. Returns what `read` needs to verify it."""
    import faiss

    path = folder / name
    try:
        with replacing(path, durable=True) as temporary:
            faiss.write_index(served.index, str(temporary))
            about = {
                "file": name, "bytes": temporary.stat().st_size, "sha256": sha256_of(temporary), "entries": len(served),
                "through": served.through, "options": served.options.to_json(),
            }  # fmt: skip
    except RuntimeError as error:
        raise CrossreidError(f"{path} could not be written ({error}).") from error
    return about


def about_of(text: str) -> dict[str, Any]:
    """The output of `write`, from its JSON. Raises `CrossreidError` for anything else."""
    try:
        about = json.loads(text)
        options = IndexOptions.from_json(about["options"])
        sizes = [about[name] for name in ("bytes", "entries", "through")]
        whole = all(type(size) is int and 0 <= size < 1 << 48 for size in sizes) and options.kind != "exact"
        if whole and re.fullmatch(r"index-\w+\.faiss", about["file"]) and isinstance(about["sha256"], str):
            return dict(about)
    except (KeyError, TypeError, ValueError):
        pass
    raise CrossreidError(f"no description of an index file: {text!r}")


def read(folder: Path, about: dict[str, Any], dimension: int) -> ServedIndex:
    """The index described by `about`. Raises `CrossreidError` saying why it cannot be served: missing, cut, changed."""
    import faiss

    path = folder / about["file"]
    if not path.is_file():
        raise CrossreidError(f"{path.name} is missing")
    if path.stat().st_size != about["bytes"] or sha256_of(path) != about["sha256"]:
        raise CrossreidError(f"{path.name} is damaged")
    index = faiss.read_index(str(path))
    if index.d != dimension or index.ntotal != about["entries"]:
        raise CrossreidError(f"{path.name} is of other entries")
    return ServedIndex(IndexOptions.from_json(about["options"]), index, about["through"], about)


def remove_others(folder: Path, served: ServedIndex | None) -> None:
    """Delete all index files except the served one. Only call this while no other is being written."""
    for path in (*folder.glob("index-*.faiss"), *folder.glob(".index-*.faiss.*")):
        if served is None or path.name != served.about["file"]:
            path.unlink(missing_ok=True)
