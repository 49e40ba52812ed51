"""From embeddings to a searchable gallery. The public names.

`gallery` is the one interface, and `opening` opens what implements it: `local` (a folder; faiss and SQLite in this
process) or `milvus` (a file or a cluster). `entries`, `filters` and `index_options` are its inputs and search options.
`importing` fills a gallery from embeddings, `recall` measures an index, and `marks` turns people's marks on matches
into a manifest to train on. The names are imported on first use, so that code without searches does not wait for faiss.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossreid.galleries.entries import Entries, Entry, Matches
    from crossreid.galleries.errors import GalleryError, GalleryLocked, ModelMismatch
    from crossreid.galleries.filters import Filter
    from crossreid.galleries.gallery import Gallery, Stats
    from crossreid.galleries.importing import (
        add_features,
        add_folder,
        entries_of_embeddings,
        entries_of_features,
        read_entries,
    )
    from crossreid.galleries.index_options import IndexOptions
    from crossreid.galleries.opening import open_gallery, restore
    from crossreid.galleries.recall import Recall, measure_recall
    from crossreid.galleries.values import utc_seconds

_HOMES = {
    "Entries": "entries",
    "Entry": "entries",
    "Filter": "filters",
    "Gallery": "gallery",
    "GalleryError": "errors",
    "GalleryLocked": "errors",
    "IndexOptions": "index_options",
    "Matches": "entries",
    "ModelMismatch": "errors",
    "Recall": "recall",
    "Stats": "gallery",
    "add_features": "importing",
    "add_folder": "importing",
    "entries_of_embeddings": "importing",
    "entries_of_features": "importing",
    "measure_recall": "recall",
    "open_gallery": "opening",
    "read_entries": "importing",
    "restore": "opening",
    "utc_seconds": "values",
}
__all__ = [
    "Entries", "Entry", "Filter", "Gallery", "GalleryError", "GalleryLocked", "IndexOptions", "Matches", "ModelMismatch",
    "Recall", "Stats", "add_features", "add_folder", "entries_of_embeddings", "entries_of_features", "measure_recall",
    "open_gallery", "read_entries", "restore", "utc_seconds",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"crossreid.galleries has no public name {name!r}; it has {', '.join(__all__)}.")
    import importlib

    return getattr(importlib.import_module(f"crossreid.galleries.{_HOMES[name]}"), name)
