"""From files of embeddings into a gallery: features of an evaluated run, and the folders of `crossreid embed`."""

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
    """What `read_embeddings` read, as entries in its order: an image's path, with its box where it has one, is id and source.

    Raises `DataError` where an image is there twice, or a box is none.
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
    """The features of images in these roles as entries, in their order: an image's name is its id and its source.

    Raises `DataError` where nothing is left, or a name is there twice.
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
    """The entries of what was embedded, and the fingerprint of the model that did.

    Args:
        path: a folder or address that `crossreid embed` wrote, or features.npz of an evaluated run.
        model: the fingerprint; features.npz does not say it, and a folder's own is compared with it.
        role: of features.npz: the images that are "gallery" or "query", or "all".

    Raises:
        ModelMismatch: the folder is of another model.
        CrossreidError: no fingerprint, an unknown role, and as `read_embeddings`, `load` of features and `Entries`.
    """
    if path.is_dir():
        found = read_embeddings(path)
        if model is not None and model != found.fingerprint:
            raise ModelMismatch(f"{path} is of model {found.fingerprint}, not of --model {model}.")
        return entries_of_embeddings(found), found.fingerprint
    if model is None:
        raise CrossreidError(f"{path} does not say which model it is of; name its fingerprint with --model.")
    if role not in ROLES:
        raise CrossreidError(f"--role {role!r}: expected gallery, query or all.")
    from crossreid.evaluation.features import load

    return entries_of_features(load(file_of_features(path)), ROLES[role]), model


def file_of_features(path: Place) -> Path:
    """A path that must be a file's; raises `DataError` for an address below which there are no embeddings."""
    if isinstance(path, Path):
        return path
    raise DataError(f"{path}: nothing is below it. Expected an address that `crossreid embed` wrote to and finished.")


def card_of(path: Place) -> ModelCard | None:
    """What is said of the model that embedded what `read_entries` reads; None where nothing is.

    Raises `DataError` where a folder's metadata give a preprocessing that is none.
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
    # Here, as a recipe knows of all methods and these of torch, which takes seconds: folders and ids need none of it.
    from crossreid.runs.progress import unfinished
    from crossreid.runs.recipe import recipe_of_run
    from crossreid.runs.stored_run import preprocessing_of

    try:
        seen = preprocessing_of(recipe_of_run(run)).to_json()
    except CrossreidError:  # nothing is embedded here, and what was embedded can be added all the same
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
    """Add the gallery images of an evaluated run, part by part; how many there were.

    `model` is the fingerprint of what embedded them. With `replace`, ids that are there are replaced.
    Raises as `Gallery.add`, and as `entries_of_features`.
    """
    return add_entries(gallery, entries_of_features(features, roles), model=model, replace=replace, advance=advance)


def add_folder(gallery: Gallery, folder: Place, *, replace: bool = False, advance: Advance | None = None) -> int:
    """Add what `crossreid embed` wrote; how many there were.

    Raises `ModelMismatch` where the folder is of another model, and as `read_embeddings` and `entries_of_embeddings`.
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
    """Let a gallery keep what embeddings that were added to it say of their model, as far as they do.

    A calibration of other weights, those of a run that was trained on since, is left aside.
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
    """Add many entries in parts, each of them kept or not as a whole; `advance(done, total)` is called as entries are added.

    Raises as `Gallery.add`: of ids that are there before anything is added. What fails later says how much was.
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
                f"{error} Before that, {start} of {len(entries)} were added; what replaces (--upsert) may begin anew."
            ) from error
        if advance is not None:
            advance(len(part), len(entries))
    return len(entries)
