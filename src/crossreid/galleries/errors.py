"""Errors of galleries: faults of a caller or of a file, with messages for people."""

from __future__ import annotations

from collections.abc import Sequence

from crossreid.errors import CrossreidError


class GalleryError(CrossreidError):
    """A gallery cannot be opened, read or written as requested; the message says what to do."""


class GalleryFault(GalleryError):
    """A disk, a database or a cluster fails; the request itself is valid."""


class ModelMismatch(GalleryError):
    """Embeddings, or a caller, of another model than the gallery's."""


class GalleryLocked(GalleryError):
    """Another process, or this one, already has the gallery open for writing."""


class EntryExists(GalleryError):
    """An id to be added already exists."""


def another_model(location: object, found: str, wanted: str) -> ModelMismatch:
    """The error for opening a gallery for a model that is not its own."""
    return ModelMismatch(
        f"{location} holds embeddings of model {found}, but was to be opened for model {wanted}; they cannot be "
        "compared. Open it with its model, or use another gallery."
    )


def closed(location: object) -> GalleryFault:
    """The error for using a closed gallery."""
    return GalleryFault(f"{location} is closed; open it again.")


def opened_read_only(location: object) -> GalleryError:
    """The error for writing to a gallery opened read-only."""
    return GalleryError(f"{location} is open read-only; open it for writing.")


def another_format(location: object, found: object, own: object) -> GalleryError:
    """The error for opening a gallery written by another version."""
    return GalleryError(
        f"{location} has format {found}; this version reads {own}. Recreate it from its embeddings (`crossreid gallery add`), or "
        "use the version that wrote it."
    )


def damaged(location: object, what: object) -> GalleryFault:
    """The error for a database or collection with content that was never written to it."""
    return GalleryFault(f"{location} is damaged ({what}); restore it from a snapshot.")


def existing(ids: Sequence[str]) -> EntryExists:
    """The error for adding existing ids."""
    others = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return EntryExists(
        f"the id {ids[0]!r}{others} is already in the gallery; nothing was added. Use upsert (over HTTP: replace) or another id."
    )
