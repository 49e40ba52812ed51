"""What a gallery refuses: faults of a caller or of a file, in words for people."""

from __future__ import annotations

from collections.abc import Sequence

from crossreid.errors import CrossreidError


class GalleryError(CrossreidError):
    """A gallery that cannot be opened, read or written as asked; the message says what to do about it."""


class GalleryFault(GalleryError):
    """A disk, a database or a cluster that fails: nothing that was asked for is wrong."""


class ModelMismatch(GalleryError):
    """Embeddings, or a caller, of another model than the gallery's."""


class GalleryLocked(GalleryError):
    """Another process, or this one already, has the gallery open for writing."""


class EntryExists(GalleryError):
    """An id that is to be added is there already."""


def another_model(location: object, found: str, wanted: str) -> ModelMismatch:
    """The error of opening a gallery for a model that is not its own."""
    return ModelMismatch(
        f"{location} holds embeddings of model {found}, and is to be opened for model {wanted}; they cannot be "
        "compared. Open it with its model, or keep another gallery."
    )


def closed(location: object) -> GalleryFault:
    """The error of using a gallery that is closed."""
    return GalleryFault(f"{location} is closed; open it again.")


def opened_read_only(location: object) -> GalleryError:
    """The error of writing to a gallery that is open for reading."""
    return GalleryError(f"{location} is open read-only; open it for writing.")


def another_format(location: object, found: object, own: object) -> GalleryError:
    """The error of opening a gallery that another version wrote."""
    return GalleryError(
        f"{location} has format {found}; this version reads {own}. Make it anew from its embeddings (`crossreid gallery add`), or "
        "use the version that wrote it."
    )


def damaged(location: object, what: object) -> GalleryFault:
    """The error of a database, or of a collection, that holds what was never written to it."""
    return GalleryFault(f"{location} is damaged ({what}); restore it from a snapshot.")


def existing(ids: Sequence[str]) -> EntryExists:
    """The error of adding ids that are there."""
    others = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return EntryExists(
        f"the id {ids[0]!r}{others} is in the gallery already; nothing was added. Use upsert (over HTTP: replace) or another id."
    )
