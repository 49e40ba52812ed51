"""Queries to a gallery, with their names, embeddings and files, so that a query is recognised among its own matches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossreid.data.image_names import is_image
from crossreid.data.records import Modality
from crossreid.evaluation.embedding_files import EMBEDDINGS, RECORDS
from crossreid.galleries.entries import Entries, Entry
from crossreid.galleries.fragments import path_and_box, source_of
from crossreid.inference.image_files import images_below

if TYPE_CHECKING:
    from crossreid.galleries.gallery import Gallery


@dataclass(frozen=True, eq=False, slots=True)
class Asking:
    """Queries: their names, embeddings `(Q, D)`, and the image files of each, empty if unknown.

    modalities: per query; None if unknown, or for images of both. as_set: each query has several images.
    """

    names: list[str]
    embeddings: np.ndarray
    files: list[frozenset[str]]
    modalities: tuple[Modality | None, ...] = ()
    as_set: bool = False

    def modality(self, query: int) -> Modality | None:
        """The modality of a query, if known."""
        return self.modalities[query] if self.modalities else None

    def is_own(self, query: int, entry: Entry) -> bool:
        """Whether an entry is the query itself: by name, or from one of its files; parts of a picture count too."""
        own = self.files[query] or {self.names[query]}
        picture = path_and_box(entry.source)[0]
        known = {entry.source, place_of(entry.source), picture, place_of(picture)} if entry.source else set()
        return entry.id in own or not own.isdisjoint(known)


def asking_with_entries(entries: Entries) -> Asking:
    """Entries as queries, one each; their files are unknown, as whoever embedded them may have had others."""
    kinds = tuple(Modality(int(kind)) for kind in entries.modalities)
    return Asking(entries.ids, entries.embeddings, [frozenset()] * len(entries), kinds)


def asking_with_ids(gallery: Gallery, ids: Sequence[str]) -> Asking:
    """Entries of the gallery as queries. Raises `GalleryError` naming the first that does not exist."""
    vectors = gallery.embeddings_of(ids)
    kinds = tuple(entry.modality if entry is not None else None for entry in gallery.get(ids))
    return Asking(list(ids), vectors, [frozenset()] * len(ids), kinds)


def holds_pictures(path: Path) -> bool:
    """Whether this is an image file, a manifest, or a folder of images rather than of embeddings."""
    if path.is_dir():
        if (path / EMBEDDINGS).exists() or (path / RECORDS).exists():
            return False
        return (path / "manifest.csv").is_file() or bool(images_below(path, lambda *_: None))
    return is_image(path.name) or path.suffix.lower() == ".csv"


def place_of(source: str) -> str:
    """A source with the absolute path of its file, symlinks resolved."""
    name, box = path_and_box(source)
    try:
        return source_of(os.path.realpath(name), box)
    except (OSError, ValueError):
        return source
