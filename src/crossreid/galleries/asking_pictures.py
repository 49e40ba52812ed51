"""Images as queries: an image, or those of a folder, embedded with the gallery's own model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from crossreid.data.evaluation_loading import evaluation_batches
from crossreid.data.images import load_image
from crossreid.data.levels import queries_with_levels
from crossreid.data.records import DataError, Modality, Record
from crossreid.errors import CrossreidError
from crossreid.galleries.asking import Asking, place_of
from crossreid.galleries.errors import ModelMismatch
from crossreid.galleries.fragments import source_of
from crossreid.galleries.gallery import Gallery
from crossreid.galleries.values import modality_of, unit_rows
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from crossreid.runs.named_network import pretrained_at
from crossreid.runs.stored_run import run_fingerprint, run_folder

_BATCH = 64


def asking_with_pictures(
    gallery: Gallery,
    path: Path,
    *,
    run: Path | None = None,
    modality: str | None = None,
    tracklet: bool = False,
    device: str | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Asking:
    """Embed an image, or the images of a folder, with the gallery's own model: each a query, or all together one query.

    Args:
        run: the folder of its model; by default where it was when entries were added.
        modality: of the images, visible (the default) or infrared; not for a folder with a manifest, which states it.
        tracklet: the images show one identity and form one query.
        say: called with a message if the modality is a guess that may be wrong.

    Raises:
        ModelMismatch: the run is of another model.
        CrossreidError: the model's location is unknown or empty; an image cannot be read.
    """
    model = _model_of(gallery, run, device)
    records = queries_with_levels(_records(path, modality), model.preprocessing.levels)
    if modality is None and not _manifest(path).is_file():
        _doubt(records, say)
    features, size = [], model.preprocessing
    batches = evaluation_batches(
        records, height=size.height, width=size.width, batch=_BATCH, interpolation=size.interpolation,
        normalisation=size.normalisation
    )  # fmt: skip
    for images, modalities in batches:
        features.append((model.features if tracklet else model.embed)(images, modalities))
    rows = torch.cat(features)
    names = [source_of(record.path.as_posix(), record.box) for record in records]
    files = [frozenset((name, place_of(name))) for name in names]
    kinds = [record.modality for record in records]
    if not tracklet:
        return Asking(names, rows.numpy(), files, tuple(kinds))
    together: frozenset[str] = frozenset().union(*files)
    row = unit_rows(rows.mean(0, keepdim=True).numpy(), path.as_posix())
    kind = kinds[0] if len(set(kinds)) == 1 else None
    return Asking([path.as_posix()], row, [together], (kind,), len(records) > 1)


def _manifest(path: Path) -> Path:
    """The manifest at a path or in a folder."""
    return path if path.suffix.lower() == ".csv" else path / "manifest.csv"


def _records(path: Path, modality: str | None) -> list[Record]:
    if path.is_dir() or _manifest(path).is_file():
        return source_records(str(path), modality=modality)
    if not path.is_file():
        raise DataError(f"{path} not found. Expected an image, a folder of images, a manifest, or embeddings.")
    return [Record(path, "", 0, Modality.VISIBLE if modality is None else modality_of(modality))]


NAME_THE_RUN = "Name the run of its model: --run RUN."
NAME_THE_NETWORK = "Name its model: --backbone NAME, with the gallery's own --weights, --size and --flip, or --run RUN."


def _model_of(gallery: Gallery, run: Path | None, device: str | None) -> EmbeddingModel:
    """The gallery's model, from the recorded or named run: its best or last checkpoint."""
    named, run = run is not None, run or gallery.run()
    if run is None:
        raise CrossreidError(
            f"{gallery.location} does not record where its model is, which is needed to embed pictures; name its run: --run RUN."
        )
    named_network = pretrained_at(run)
    if named_network is not None:
        model = open_model(run, device=device)
        if model.fingerprint == gallery.model:
            return model
    elif not run.exists():
        raise CrossreidError(
            f"{run}, {'the run' if named else 'where the model of the gallery lay'}, is not there. Name the run of its model: "
            "--run RUN."
        )
    elif run.is_file():
        model = open_model(run, device=device)
        if model.fingerprint == gallery.model:
            return model
    else:
        checkpoints = ("best", "last") if (run_folder(run) / "last.safetensors").is_file() else ("best",)
        for checkpoint in checkpoints:
            if run_fingerprint(run, checkpoint) == gallery.model:
                return open_model(run, checkpoint=checkpoint, device=device)
    what, advice = str(run), NAME_THE_RUN
    if named_network is not None:
        size = f"{named_network.height}x{named_network.width}"
        what, advice = f"--backbone {named_network}, {size}", NAME_THE_NETWORK
    raise ModelMismatch(
        f"{what} is not the model of {gallery.location}, whose fingerprint is {gallery.model[:12]}...; embeddings of two models "
        f"cannot be compared. {advice}"
    )


def _doubt(records: Sequence[Record], say: Callable[[str], object]) -> None:
    """Warn if the first image has no colour: it may be infrared, but was taken as visible."""
    pixels = load_image(records[0], at_least=(64, 64))
    if (pixels == pixels[..., :1]).all():
        say(
            f"{records[0].path} has no colour and is taken as visible; if it is infrared, give --query-modality infrared."
        )
