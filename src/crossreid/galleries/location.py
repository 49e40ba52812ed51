"""The location of a gallery (folder, Milvus Lite file or cluster address), and whether it may be opened or created."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from crossreid.galleries.errors import GalleryError

CLUSTER = ("http://", "https://", "tcp://")
Consistency = Literal["strong", "bounded", "eventually"]


def location_of(given: str | Path) -> str:
    """A normalised address or path. Raises `GalleryError` for an invalid address."""
    text = str(given)
    if "://" not in text:
        return str(Path(text))
    if not text.startswith(CLUSTER):
        raise GalleryError(f"{text}: expected an address that starts with {', '.join(CLUSTER)}, or a path.")
    address = text.rstrip("/")
    if address.endswith(".db"):  # which pymilvus would take as a file
        raise GalleryError(
            f"{text}: the address of a cluster names a host, a port and optionally a database, and does not end in .db; a Milvus "
            "Lite file is named by its path."
        )
    return address


def is_milvus(location: str) -> bool:
    """Whether an address or a path, as `location_of` returns it, is Milvus's."""
    return location.startswith(CLUSTER) or is_lite(location)


def is_lite(location: str) -> bool:
    """Whether a location is a Milvus Lite file."""
    return not location.startswith(CLUSTER) and location.endswith(".db")


def check_presence(location: str, there: bool, create: bool | None, model: str | None, dimension: int | None) -> None:
    """Raise `GalleryError` if a gallery exists but should be new, or does not exist and cannot be created."""
    if there and create:
        raise GalleryError(f"{location} already is a gallery; open it, or create another.")
    if there:
        return
    if create is False or (create is None and (model is None or dimension is None)):
        raise GalleryError(f"{location} holds no gallery. Create one: `crossreid gallery create`.")
    if not model or dimension is None:
        raise GalleryError("a new gallery needs the fingerprint of its model and the dimension of its embeddings.")
    if len(model.encode()) > 1024 or not model.isprintable():
        raise GalleryError("the fingerprint of a model is printable text of at most 1024 bytes.")


def is_cluster(location: str) -> bool:
    """Whether a location is the address of a Milvus cluster, which several processes may open for writing."""
    return location.startswith(CLUSTER)


def check_consistency(location: str, consistency: str) -> None:
    """Raise `GalleryError` for an unknown level of consistency, or one that this location does not support."""
    if consistency not in get_args(Consistency):
        raise GalleryError(f"consistency {consistency!r}: expected {', '.join(get_args(Consistency))}.")
    if consistency != "strong" and not is_cluster(location):
        raise GalleryError(
            f"consistency {consistency}: {location} is in-process and strongly consistent; only a cluster has other levels."
        )
