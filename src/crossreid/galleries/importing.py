"""Importing embeddings into a gallery: features of an evaluated run, and folders written by `crossreid embed`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossreid.data.addresses import Place
from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.embedding_files import AGAIN, EMBEDDINGS, Embeddings, read_about, read_embeddings
from crossreid.galleries.calibrations import calibration_of, run_of
from crossreid.galleries.entries import Entries
from crossreid.galleries.errors import GalleryError, ModelMismatch, existing
from crossreid.galleries.fragments import source_of
from crossreid.galleries.gallery import Advance, Gallery
from crossreid.galleries.model_card import ModelCard

if TYPE_CHECKING:
    from crossreid.evaluation.features import Features

GALLERY_ROLES = ("gallery", "both")
ROLES = {"gallery": GALLERY_ROLES, "query": ("query", "both"), "all": ("query", "gallery", "both")}
_PART = 16_384


def entries_of_embeddings(embeddings: Embeddings) -> Entries:
    """The output of `read_embeddings` as entries, in order: an image's path, with its box if any, is id and source.

    Raises `DataError` if an image occurs twice or a box is invalid.
    """
    names = list(map(source_of, embeddings.paths.tolist(), embeddings.boxes.tolist()))
    return Entries(
        embeddings.embeddings,
        ids=names,
        identities=[text or None for text in embeddings.identities.tolist()],
        cameras=embeddings.cameras,
        modalities=embeddings.modalities,
        times=embeddings.times,
        sources=names,
    )


def entries_of_features(features: Features, roles: Collection[str] = GALLERY_ROLES) -> Entries:
    """The features of images in these roles as entries, in their order: an image's name is both id and source.

    Raises `DataError` if nothing is left, or a name occurs twice.
    """
    rows = np.flatnonzero(np.isin(features.roles, list(roles)))
    if not len(rows):
        raise DataError(f"features: no image has the role {' or '.join(roles)}.")
    names = features.names[rows].tolist()
    return Entries(
        features.embeddings[rows],
        ids=names,
        identities=[text or None for text in features.identities[rows].tolist()],
        cameras=features.cameras[rows],
        modalities=features.modalities[rows],
        sources=names,
    )


def read_entries(path: Place, model: str | None = None, role: str = "gallery") -> tuple[Entries, str]:
    """The entries of embeddings, and the fingerprint of the model that made them.

    Args:
        path: a folder or address written by `crossreid embed`, or features.npz of an evaluated run.
        model: the fingerprint; features.npz does not state it, and a folder's own is compared with it.
        role: for features.npz: the images with role "gallery" or "query", or "all".

    Raises:
        ModelMismatch: the folder is of another model.
        CrossreidError: no fingerprint, an unknown role, or as `read_embeddings`, `load` of features and `Entries`.
    """
    if path.is_dir():
        found = read_embeddings(path)
        if model is not None and model != found.fingerprint:
            raise ModelMismatch(f"{path} is of model {found.fingerprint}, not of --model {model}.")
        return entries_of_embeddings(found), found.fingerprint
    if model is None:
        raise CrossreidError(f"{path} does not state its model; give its fingerprint with --model.")
    if role not in ROLES:
        raise CrossreidError(f"--role {role!r}: expected gallery, query or all.")
    from crossreid.evaluation.features import load

    return entries_of_features(load(file_of_features(path)), ROLES[role]), model


def file_of_features(path: Place) -> Path:
    """A file path; raises `DataError` for an address without embeddings under it."""
    if isinstance(path, Path):
        return path
    raise DataError(f"{path}: there is nothing under it. Expected an address at which `crossreid embed` has finished.")


def card_of(path: Place) -> ModelCard | None:
    """The model card for the input of `read_entries`; None if there is none.

    Raises `DataError` if a folder's metadata have an invalid preprocessing.
    """
    if path.is_dir():
        about = read_about(path)
        if "preprocessing" not in about:
            return None
        try:
            return ModelCard.of_texts(about)
        except CrossreidError as error:
            raise DataError(f"{path / EMBEDDINGS} is damaged ({error}). {AGAIN}") from error
    if (run := run_of(path)) is None:
        return None
    # Here, as a recipe imports all methods and these torch, which takes seconds: folders and ids do not need it.
    from crossreid.runs.progress import unfinished
    from crossreid.runs.recipe import recipe_of_run
    from crossreid.runs.stored_run import preprocessing_of

    try:
        seen = preprocessing_of(recipe_of_run(run)).to_json()
    except CrossreidError:  # nothing is embedded here, and existing embeddings can still be added
        return None
    return ModelCard(unfinished(run) or None, seen)


def add_features(
    gallery: Gallery,
    features: Features,
    *,
    model: str | None = None,
    roles: Collection[str] = GALLERY_ROLES,
    replace: bool = False,
    advance: Advance | None = None,
) -> int:
    """Add the gallery images of an evaluated run, in parts; returns how many there were.

    `model` is the fingerprint of the model that embedded them. With `replace`, existing ids are replaced.
    Raises as `Gallery.add`, and as `entries_of_features`.
    """
    return add_entries(gallery, entries_of_features(features, roles), model=model, replace=replace, advance=advance)


def add_folder(gallery: Gallery, folder: Place, *, replace: bool = False, advance: Advance | None = None) -> int:
    """Add the output of `crossreid embed`; returns how many entries there were.

    Raises `ModelMismatch` if the folder is of another model, and as `read_embeddings` and `entries_of_embeddings`.
    """
    found, card = read_embeddings(folder), card_of(folder)
    count = add_entries(
        gallery, entries_of_embeddings(found), model=found.fingerprint, replace=replace, advance=advance
    )
    note_model(gallery, run_of(folder), card, calibration_of(folder))
    return count


def note_model(
    gallery: Gallery, run: Path | None, card: ModelCard | None, calibration: Calibration | None = None
) -> None:
    """Record in a gallery what its added embeddings state about their model.

    A calibration of other weights, as of a run trained further since, is ignored.
    """
    if run is not None:
        gallery.note_run(run)
    if card is not None:
        gallery.note_model(card)
    if calibration is not None and calibration.fingerprint == gallery.model:
        gallery.note_calibration(calibration)


def add_entries(
    gallery: Gallery,
    entries: Entries,
    *,
    model: str | None = None,
    replace: bool = False,
    advance: Advance | None = None,
) -> int:
    """Add many entries in parts, each of them atomically; `advance(done, total)` is called as entries are added.

    Raises as `Gallery.add`: for existing ids, before anything is added. A later failure says how many were added.
    """
    if not replace and len(entries) > _PART and (there := gallery.known(entries.ids)):
        raise existing(there)
    for start in range(0, len(entries), _PART):
        part = entries.rows(slice(start, start + _PART))
        try:
            (gallery.upsert if replace else gallery.add)(part, model=model)
        except GalleryError as error:
            if not start:
                raise
            raise type(error)(
                f"{error} Before that, {start} of {len(entries)} were added; with --upsert the whole can be repeated."
            ) from error
        if advance is not None:
            advance(len(part), len(entries))
    return len(entries)
