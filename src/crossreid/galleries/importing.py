"""From files of embeddings into a gallery: features of an evaluated run, and the folders of `crossreid embed`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossreid.data.records import DataError
from crossreid.galleries.entries import Batch
from crossreid.galleries.errors import GalleryError, existing
from crossreid.galleries.fragments import source_of
from crossreid.galleries.gallery import Advance, Gallery
from crossreid.inference.embedding_files import Embeddings, read_embeddings

if TYPE_CHECKING:
    from crossreid.evaluation.features import Features

GALLERY_ROLES = ("gallery", "both")
_PART = 16_384


def batch_of_embeddings(embeddings: Embeddings) -> Batch:
    """What `read_embeddings` read, as a batch in its order: an image's path, with its box where it has one, is id and source.

    Raises `DataError` where an image is there twice, or a box is none.
    """
    names = list(map(source_of, embeddings.paths.tolist(), embeddings.boxes.tolist()))
    return Batch(
        embeddings.embeddings,
        ids=names,
        identities=[text or None for text in embeddings.identities.tolist()],
        cameras=embeddings.cameras,
        modalities=embeddings.modalities,
        times=embeddings.times,
        sources=names,
    )


def batch_of_features(features: Features, roles: Collection[str] = GALLERY_ROLES) -> Batch:
    """The features of images in these roles as a batch, in their order: an image's name is its id and its source.

    Raises `DataError` where nothing is left, or a name is there twice.
    """
    rows = np.flatnonzero(np.isin(features.roles, list(roles)))
    if not len(rows):
        raise DataError(f"features: no image has the role {' or '.join(roles)}.")
    names = features.names[rows].tolist()
    return Batch(
        features.embeddings[rows],
        ids=names,
        identities=[text or None for text in features.identities[rows].tolist()],
        cameras=features.cameras[rows],
        modalities=features.modalities[rows],
        sources=names,
    )


def add_features(
    gallery: Gallery,
    features: Features,
    *,
    model: str | None = None,
    roles: Collection[str] = GALLERY_ROLES,
    replace: bool = False,
    advance: Advance | None = None,
) -> int:
    """Add the gallery images of an evaluated run, part by part; how many there were.

    `model` is the fingerprint of what embedded them. With `replace`, ids that are there are replaced.
    Raises as `Gallery.add`, and as `batch_of_features`.
    """
    return add_batch(gallery, batch_of_features(features, roles), model=model, replace=replace, advance=advance)


def add_folder(gallery: Gallery, folder: Path, *, replace: bool = False, advance: Advance | None = None) -> int:
    """Add what `crossreid embed` wrote; how many there were.

    Raises `ModelMismatch` where the folder is of another model, and as `read_embeddings` and `batch_of_embeddings`.
    """
    found = read_embeddings(folder)
    return add_batch(gallery, batch_of_embeddings(found), model=found.fingerprint, replace=replace, advance=advance)


def add_batch(
    gallery: Gallery, batch: Batch, *, model: str | None = None, replace: bool = False, advance: Advance | None = None
) -> int:
    """Add a large batch in parts, each of them kept or not as a whole; `advance(done, total)` is told of entries.

    Raises as `Gallery.add`: of ids that are there before anything is added. What fails later says how much was.
    """
    if not replace and len(batch) > _PART and (there := gallery.known(batch.ids)):
        raise existing(there)
    for start in range(0, len(batch), _PART):
        part = batch.rows(slice(start, start + _PART))
        try:
            (gallery.upsert if replace else gallery.add)(part, model=model)
        except GalleryError as error:
            if not start:
                raise
            raise type(error)(
                f"{error} Before that, {start} of {len(batch)} were added; what replaces (--upsert) may begin anew."
            ) from error
        if advance is not None:
            advance(len(part), len(batch))
    return len(batch)
