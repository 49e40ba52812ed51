"""Search: from a trained model to a gallery of embeddings that people query. The public names.

They are imported when first used, so that what needs no search does not wait for faiss.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossreid.search.embeddings import read_embeddings
    from crossreid.search.entries import Batch, Entry, Filter, Matches, utc_seconds
    from crossreid.search.errors import GalleryError, GalleryLocked, ModelMismatch
    from crossreid.search.gallery import Gallery, Stats
    from crossreid.search.importing import add_features, add_folder, batch_of_embeddings, batch_of_features
    from crossreid.search.indexes import IndexOptions
    from crossreid.search.model import SearchModel, open_model
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
    "SearchModel": "model",
    "Stats": "gallery",
    "add_features": "importing",
    "add_folder": "importing",
    "batch_of_embeddings": "importing",
    "batch_of_features": "importing",
    "measure_recall": "recall",
    "open_gallery": "opening",
    "open_model": "model",
    "read_embeddings": "embeddings",
    "restore": "opening",
    "utc_seconds": "entries",
}
__all__ = [
    "Batch", "Entry", "Filter", "Gallery", "GalleryError", "GalleryLocked", "IndexOptions", "Matches", "ModelMismatch",
    "Recall", "SearchModel", "Stats", "add_features", "add_folder", "batch_of_embeddings", "batch_of_features",
    "measure_recall", "open_gallery", "open_model", "read_embeddings", "restore", "utc_seconds",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid.search has no public name {name!r}; it has {', '.join(__all__)}.")
    import importlib

    return getattr(importlib.import_module(f"crossreid.search.{_HOMES[name]}"), name)
