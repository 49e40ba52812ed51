"""Search: from a trained model to a gallery of embeddings that people query. The public names.

They are imported when first used, so that what needs no search does not wait for faiss.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossreid.galleries.entries import Batch, Entry, Filter, Matches, utc_seconds
    from crossreid.galleries.errors import GalleryError, GalleryLocked, ModelMismatch
    from crossreid.galleries.gallery import Gallery, Stats
    from crossreid.galleries.importing import add_features, add_folder, batch_of_embeddings, batch_of_features
    from crossreid.galleries.indexes import IndexOptions
    from crossreid.galleries.opening import open_gallery, restore
    from crossreid.galleries.recall import Recall, measure_recall
    from crossreid.inference.embedding_files import read_embeddings
    from crossreid.inference.embedding_model import EmbeddingModel
    from crossreid.inference.open_model import open_model

_HOMES = {
    "Batch": "entries",
    "EmbeddingModel": "crossreid.inference.embedding_model",
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
    "batch_of_embeddings": "importing",
    "batch_of_features": "importing",
    "measure_recall": "recall",
    "open_gallery": "opening",
    "open_model": "crossreid.inference.open_model",
    "read_embeddings": "crossreid.inference.embedding_files",
    "restore": "opening",
    "utc_seconds": "entries",
}
__all__ = [
    "Batch", "EmbeddingModel", "Entry", "Filter", "Gallery", "GalleryError", "GalleryLocked", "IndexOptions", "Matches",
    "ModelMismatch", "Recall", "Stats", "add_features", "add_folder", "batch_of_embeddings", "batch_of_features",
    "measure_recall", "open_gallery", "open_model", "read_embeddings", "restore", "utc_seconds",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid.galleries has no public name {name!r}; it has {', '.join(__all__)}.")
    import importlib

    home = _HOMES[name] if "." in _HOMES[name] else f"crossreid.galleries.{_HOMES[name]}"
    return getattr(importlib.import_module(home), name)
