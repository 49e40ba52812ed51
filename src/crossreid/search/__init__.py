"""Search: a gallery of embeddings that is added to, filtered, searched and deleted from. The public names.

They are imported when first used, so that what needs no search does not wait for faiss.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossreid.search.entries import Batch, Entry, Filter, Matches, utc_seconds
    from crossreid.search.errors import GalleryError, GalleryLocked, ModelMismatch
    from crossreid.search.gallery import Gallery, Stats
    from crossreid.search.importing import add_features, add_folder, batch_of_features
    from crossreid.search.indexes import IndexOptions
    from crossreid.search.opening import open_gallery, restore
    from crossreid.search.recall import Recall, measure_recall

_HOMES = {
    "Batch": "entries",
    "Entry": "entries",
    "Filter": "entries",
    "Gallery": "gallery",
    "GalleryError": "errors",
    "GalleryLocked": "errors",
    "IndexOptions": "indexes",
    "Matches": "entries",
    "ModelMismatch": "errors",
    "Recall": "recall",
    "Stats": "gallery",
    "add_features": "importing",
    "add_folder": "importing",
    "batch_of_features": "importing",
    "measure_recall": "recall",
    "open_gallery": "opening",
    "restore": "opening",
    "utc_seconds": "entries",
}
__all__ = [
    "Batch", "Entry", "Filter", "Gallery", "GalleryError", "GalleryLocked", "IndexOptions", "Matches", "ModelMismatch",
    "Recall", "Stats", "add_features", "add_folder", "batch_of_features", "measure_recall", "open_gallery", "restore",
    "utc_seconds",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid.search has no public name {name!r}; it has {', '.join(__all__)}.")
    import importlib

    return getattr(importlib.import_module(f"crossreid.search.{_HOMES[name]}"), name)
