"""From files of embeddings into a gallery: features of an evaluated run, and the folders of `crossreid embed`.

A folder holds `embeddings.safetensors` (tensor `embeddings` `(N, D)`, the fingerprint of the model as `model` in its
metadata) and `records.parquet`, a row an embedding: path, identity, camera, modality ('visible' or 'infrared'), time
(nullable), tracklet, frame.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.search.entries import Batch, modality_of, utc_seconds
from crossreid.search.gallery import Advance, Gallery

if TYPE_CHECKING:
    from crossreid.evaluation.features import Features

EMBEDDINGS, RECORDS = "embeddings.safetensors", "records.parquet"
GALLERY_ROLES = ("gallery", "both")
_PART = 16_384


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
    """Add what `crossreid embed` wrote; how many there were. An image's path is its id and its source.

    Raises `ModelMismatch` where the folder is of another model, and as `read_folder`.
    """
    batch, model = read_folder(folder)
    return add_batch(gallery, batch, model=model, replace=replace, advance=advance)


def add_batch(
    gallery: Gallery, batch: Batch, *, model: str | None = None, replace: bool = False, advance: Advance | None = None
) -> int:
    """Add a large batch in parts, each of them kept or not as a whole; `advance(done, total)` is told of entries."""
    for start in range(0, len(batch), _PART):
        part = batch.rows(slice(start, start + _PART))
        (gallery.upsert if replace else gallery.add)(part, model=model)
        if advance is not None:
            advance(len(part), len(batch))
    return len(batch)


def read_folder(folder: Path) -> tuple[Batch, str]:
    """The embeddings of a folder of `crossreid embed`, and the fingerprint of their model.

    Raises `DataError` naming the file that is missing, damaged, or without what is expected of it.
    """
    import pyarrow as pa
    from pyarrow import parquet
    from safetensors import SafetensorError, safe_open

    for name in (EMBEDDINGS, RECORDS):
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} not found; expected a folder that `crossreid embed` wrote.")
    try:
        with safe_open(folder / EMBEDDINGS, framework="np") as file:
            metadata = file.metadata() or {}
            embeddings = file.get_tensor("embeddings")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder / EMBEDDINGS} cannot be read ({error}); embed again.") from error
    if not metadata.get("model"):
        raise DataError(f"{folder / EMBEDDINGS}: expected the fingerprint of the model as `model` in its metadata.")
    try:
        records = parquet.read_table(folder / RECORDS).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{folder / RECORDS} cannot be read ({error}); embed again.") from error
    missing = [name for name in ("path", "identity", "camera", "modality") if name not in records]
    if missing:
        raise DataError(
            f"{folder / RECORDS}: expected the columns path, identity, camera, modality; missing: {missing}."
        )
    count = len(records["path"])
    if count != len(embeddings):
        raise DataError(f"{folder}: {len(embeddings)} embeddings and {count} records; embed again.")
    try:
        batch = Batch(
            embeddings,
            ids=records["path"],
            identities=[text or None for text in records["identity"]],
            cameras=[camera or 0 for camera in records["camera"]],
            modalities=[int(modality_of(text)) for text in records["modality"]],
            times=[_seconds(time) for time in records.get("time", [None] * count)],
            sources=records["path"],
        )
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error
    return batch, metadata["model"]


def _seconds(time: Any) -> float:
    return np.nan if time is None else utc_seconds(time)
