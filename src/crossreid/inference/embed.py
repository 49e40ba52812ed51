"""A model's embeddings of any images: of a folder, a manifest or a data set on disk, or of a run's own test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, overload

from crossreid.data.levels import with_levels
from crossreid.errors import CrossreidError
from crossreid.inference.bulk.job import BATCH, CHUNK, Embedded, embed_records
from crossreid.inference.exported_file import is_exported
from crossreid.inference.open_model import open_model
from crossreid.inference.processes import loader_workers, process_group
from crossreid.inference.sources import source_records
from crossreid.runs.evaluate import write_features
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at

# What is not given, as in the command; None is decided later, by the source or the machine.
_DEFAULTS: dict[str, Any] = {
    "checkpoint": "best", "modality": None, "camera": None, "part": "all", "option": None, "precision": "auto",
    "on_bad_image": "stop", "batch": BATCH, "chunk": CHUNK, "workers": None, "device": None,
}  # fmt: skip
_CHOICES = {"precision": ("auto", "float32", "bf16"), "on_bad_image": ("stop", "skip")}


@overload
def embed(
    run: Path | str | PretrainedNetwork,
    source: None = None,
    out: Path | str | None = None,
    *,
    format: str | None = None,
    checkpoint: str | None = None,
    advance: Callable[..., object] | None = None,
) -> Path: ...


@overload
def embed(
    run: Path | str | PretrainedNetwork,
    source: Path | str,
    out: Path | str | None = None,
    *,
    checkpoint: str | None = None,
    modality: str | None = None,
    camera: int | None = None,
    part: str | None = None,
    options: Mapping[str, Any] | None = None,
    precision: str | None = None,
    on_bad_image: str | None = None,
    batch: int | None = None,
    chunk: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = ...,
) -> Embedded: ...


def embed(
    run: Path | str | PretrainedNetwork,
    source: Path | str | None = None,
    out: Path | str | None = None,
    *,
    format: str | None = None,
    checkpoint: str | None = None,
    modality: str | None = None,
    camera: int | None = None,
    part: str | None = None,
    options: Mapping[str, Any] | None = None,
    precision: str | None = None,
    on_bad_image: str | None = None,
    batch: int | None = None,
    chunk: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Embedded | Path:
    """Embed what `source` names into the folder `out`, resumably; without `source` a run's own test images.

    With `source`, `out` gets embeddings.safetensors and records.parquet, and the same call goes on with a job that was
    interrupted. Processes that torchrun started share the job; the first of them returns its counts.

    Args:
        run: a run's folder, or with `source` also an exported .onnx file or a network that was not trained here.
        source: a folder of images, a manifest (.csv), or NAME:ROOT of a data set.
        out: with `source` a folder; else a file or, for sysu-mat, a folder, RUN/features.npz or RUN/features by default.
        format: without `source`: npz (the default) or sysu-mat, as `crossreid.runs.run.write_features` writes them.
        checkpoint: of a run, best (the default) or last.
        modality: of a folder of images, visible (the default) or infrared.
        camera: of a folder of images, their camera; unknown (0) by default.
        part: of a data set: all (the default), train, validation, query, gallery or test.
        options: of a data set, its reader's.
        precision: auto (the default: measured), float32 (the reference) or bf16.
        on_bad_image: stop (the default), or skip and list in bad_images.csv.
        batch: images of a forward pass, 64 by default.
        chunk: images of a chunk, what a kill can cost: 1024 by default, and never less than a batch.
        workers: loader processes; by default by the number of cores.
        device: cpu, cuda or cuda:N; by default a GPU where there is one.
        advance: called with (0, images) once and with images as they are done.
        say: called with one line about what was decided.

    Returns:
        What was written; without `source` the file or folder of test features.

    Raises:
        CrossreidError: an argument without a meaning here, a source, model or image that cannot be used, or a folder that
            holds something else than this job.
    """
    given = {
        "checkpoint": checkpoint, "modality": modality, "camera": camera, "part": part, "option": options,
        "precision": precision, "on_bad_image": on_bad_image, "batch": batch, "chunk": chunk, "workers": workers,
        "device": device,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    run, out = run.path if isinstance(run, PretrainedNetwork) else Path(run), None if out is None else Path(out)
    _refuse_without_meaning(run, source, out, format, given)
    chosen = _DEFAULTS | given
    if source is None or out is None:
        return write_features(run, out, format=format or "npz", checkpoint=chosen["checkpoint"], advance=advance)
    return _embed_source(run, str(source), out, chosen, advance, say)


def _embed_source(
    run: Path, source: str, out: Path, chosen: Mapping[str, Any], advance: Callable[..., object] | None,
    say: Callable[[str], object],
) -> Embedded:  # fmt: skip
    batch, chunk, workers = chosen["batch"], chosen["chunk"], chosen["workers"]
    if min(batch, chunk) < 1 or (workers or 0) < 0:
        raise CrossreidError(
            f"batch {batch}, chunk {chunk}, workers {workers or 0}: expected 1 image or more in a batch and in a chunk, and 0 "
            "loader processes or more."
        )
    with process_group() as group:
        left_out: list[tuple[str, str]] = []
        records = source_records(
            source, modality=chosen["modality"], camera=chosen["camera"], part=chosen["part"], options=chosen["option"],
            left_out=left_out if chosen["on_bad_image"] == "skip" else None,
            say=say if group.rank == 0 else lambda text: None,
        )  # fmt: skip
        model = open_model(run, checkpoint=chosen["checkpoint"], device=chosen["device"] or group.device)
        records = with_levels(records, model.preprocessing.levels)
        if model.trained and group.rank == 0:
            named = pretrained_at(run)
            say(f"WARNING: {named.name if named else run} is {model.trained}.")
        if workers is None:
            workers = loader_workers(model.device, group.world)
        try:
            return embed_records(
                model, records, out, precision=chosen["precision"], batch=batch, chunk=max(batch, chunk), workers=workers,
                on_bad_image=chosen["on_bad_image"], left_out=left_out, group=group, advance=advance, say=say,
            )  # fmt: skip
        except KeyboardInterrupt:
            if group.rank == 0:
                say("interrupted; the same command again goes on from the last chunk.")
            raise


def _refuse_without_meaning(
    run: Path, source: Path | str | None, out: Path | None, format: str | None, given: Mapping[str, Any]
) -> None:
    """Raise `CrossreidError` for what has no meaning with this run and source; arguments are called as the command's options."""
    exported = is_exported(run)
    if (named := pretrained_at(run)) is not None:
        if source is None:
            raise CrossreidError(
                f"{named.name} was not trained here and has no test features of its own. Name what is to be embedded: crossreid embed "
                f"--backbone {named.name} SOURCE --out DIR."
            )
        if "checkpoint" in given:
            raise CrossreidError(
                f"--checkpoint is of a run; {named.name} has the weights that --weights names. Leave it out."
            )
    if exported and source is None:
        raise CrossreidError(
            f"{run} is an exported file, which has no test features of its own. Name what is to be embedded: "
            f"crossreid embed {run} SOURCE --out DIR."
        )
    if exported and "checkpoint" in given:
        raise CrossreidError(f"--checkpoint is of a run; {run} was exported from one of its checkpoints. Leave it out.")
    if source is None:
        unused = [f"--{name.replace('_', '-')}" for name in given if name != "checkpoint"]
        if unused:
            raise CrossreidError(
                f"{', '.join(unused)} {'has' if len(unused) == 1 else 'have'} no meaning for a run's own test features. Name a "
                "SOURCE, or leave that out."
            )
        return
    if format is not None:
        raise CrossreidError(
            "--format is for a run's own test features; with SOURCE, --out DIR gets safetensors and Parquet."
        )
    if out is None:
        raise CrossreidError(
            "with SOURCE, --out DIR is needed: the folder for embeddings.safetensors and records.parquet."
        )
    for name, known in _CHOICES.items():
        if given.get(name, known[0]) not in known:
            raise CrossreidError(f"--{name.replace('_', '-')} {given[name]!r}: expected {' or '.join(known)}.")
