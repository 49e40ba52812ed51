"""A model's embeddings of any images: those of a folder, a manifest or a data set, or a run's own test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args, overload

from crossreid.data.addresses import Address, Place, place_of
from crossreid.data.levels import with_levels
from crossreid.data.pixel_cache import CacheChoice
from crossreid.errors import CrossreidError
from crossreid.inference.bulk.embedded_chunks import embedded_chunks
from crossreid.inference.bulk.job import BATCH, CHUNK, Embedded, embed_records
from crossreid.inference.bulk.ray_pipeline import Cluster
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.engines.names import FASTEST, Engine, parse_distributed
from crossreid.inference.exporting.exported_file import is_exported
from crossreid.inference.fastest_engine import engine_of_job, fastest_engine
from crossreid.inference.open_by_engine import open_by_engine
from crossreid.inference.processes import loader_workers, process_group
from crossreid.inference.sources import source_records
from crossreid.runs.evaluate import write_features
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at
from crossreid.runs.recipe import recipe_of_run

# Defaults, as in the command; None is decided later, by the source or the machine.
_DEFAULTS: dict[str, Any] = {
    "checkpoint": "best", "modality": None, "camera": None, "part": "all", "option": None, "precision": "auto",
    "on_bad_image": "stop", "batch": BATCH, "chunk": CHUNK, "workers": None, "device": None, "engine": None,
    "ray_address": None,
}  # fmt: skip
_CHOICES = {"precision": ("auto", *get_args(Precision)), "on_bad_image": ("stop", "skip")}


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
    engine: str | None = None,
    ray_address: str | None = None,
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
    engine: str | None = None,
    ray_address: str | None = None,
    advance: Callable[..., object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Embedded | Path:
    """Embed the images of `source` into the folder `out`, resumably; without `source`, a run's own test images.

    With `source`, `out` gets embeddings.safetensors and records.parquet, and repeating the call resumes an interrupted
    job. Processes started by torchrun share the job; the first of them returns its counts.

    Args:
        run: a run's folder, or with `source` also an exported file or a network that was not trained here.
        source: a folder of images, a manifest (.csv), an address of either in object storage, or NAME:ROOT of a data
            set.
        out: with `source`, a folder or an address in object storage; else a file or, for sysu-mat, a folder, by default
            RUN/features.npz or RUN/features.
        format: without `source`: npz (the default) or sysu-mat, as `crossreid.runs.run.write_features` writes them.
        checkpoint: for a run, best (the default) or last.
        modality: for a folder of images, visible (the default) or infrared.
        camera: for a folder of images, their camera; unknown (0) by default.
        part: for a data set: all (the default), train, validation, query, gallery or test.
        options: for a data set, its reader's.
        precision: auto (the default: measured), float32 (the reference) or bf16.
        on_bad_image: stop (the default), or skip and list in bad_images.csv.
        batch: images per forward pass, 64 by default.
        chunk: images per chunk, the most that a kill can cost: 1024 by default, and at least a batch.
        workers: loader processes; by default depends on the number of cores.
        device: cpu, cuda or cuda:N; by default a GPU if available.
        engine: torch (the default for a run), onnx, openvino or torch-export: RUN/model.onnx, .xml or .pt2, which
            `crossreid.export` wrote from these weights. ray, or ray:ENGINE, uses a Ray cluster; fastest measures the
            available ones.
        ray_address: for engine ray, the cluster's (`auto` for the one this machine belongs to); by default one is
            started here.
        advance: called with (0, images) once and with numbers of images as they are done.
        say: called with single-line messages about decisions.

    Returns:
        What was written; without `source`, the file or folder of test features.

    Raises:
        CrossreidError: an argument that does not apply here, an unusable source, model or image, or a folder that
            holds something other than this job.
    """
    given = {
        "checkpoint": checkpoint, "modality": modality, "camera": camera, "part": part, "option": options,
        "precision": precision, "on_bad_image": on_bad_image, "batch": batch, "chunk": chunk, "workers": workers,
        "device": device, "engine": engine, "ray_address": ray_address,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    run = run.path if isinstance(run, PretrainedNetwork) else Path(run)
    to = None if out is None else place_of(out)
    _refuse_without_meaning(run, source, to, format, given)
    chosen = _DEFAULTS | given
    if source is None or to is None:
        if isinstance(to, Address):
            raise CrossreidError(
                f"--out {to}: a run's own test features are written to a file. Name one here, or a SOURCE."
            )
        return write_features(run, to, format=format or "npz", checkpoint=chosen["checkpoint"], advance=advance)
    return _embed_source(run, str(source), to, chosen, advance, say)


def _embed_source(
    run: Path, source: str, out: Place, chosen: Mapping[str, Any], advance: Callable[..., object] | None,
    say: Callable[[str], object],
) -> Embedded:  # fmt: skip
    batch, chunk, workers = chosen["batch"], chosen["chunk"], chosen["workers"]
    measured = chosen["engine"] == FASTEST
    ray, engine = (False, None) if chosen["engine"] is None or measured else parse_distributed(chosen["engine"])
    if chosen["ray_address"] is not None and not ray:
        raise CrossreidError("--ray-address is for --engine ray, which is not given.")
    if min(batch, chunk) < 1 or (workers or 0) < 0:
        raise CrossreidError(
            f"batch {batch}, chunk {chunk}, workers {workers or 0}: expected at least 1 image per batch and per chunk, and 0 "
            "or more loader processes."
        )
    with process_group() as group:
        if ray and group.world > 1:
            raise CrossreidError("--engine ray distributes by itself; run it without torchrun.")
        left_out: list[tuple[str, str]] = []
        records = source_records(
            source, modality=chosen["modality"], camera=chosen["camera"], part=chosen["part"], options=chosen["option"],
            left_out=left_out if chosen["on_bad_image"] == "skip" else None,
            say=say if group.rank == 0 else lambda text: None,
        )  # fmt: skip
        if measured:
            engine = group.shared(lambda: _measured(run, out, chosen, say))
        opened = partial(_opened, run.absolute() if run.exists() else run, engine, chosen["checkpoint"])
        model = opened(chosen["device"] or group.device)
        embedding = Cluster(opened, chosen["ray_address"], chosen["device"]).chunks if ray else embedded_chunks
        records = with_levels(records, model.preprocessing.levels)
        if model.trained and group.rank == 0:
            named = pretrained_at(run)
            say(f"WARNING: {named.name if named else run} is {model.trained}.")
        if workers is None:
            workers = loader_workers(model.device, group.world)
        try:
            return embed_records(
                model, records, out, precision=chosen["precision"], batch=batch, chunk=max(batch, chunk), workers=workers,
                cache=_kept(model),
                on_bad_image=chosen["on_bad_image"], left_out=left_out, group=group, embedding=embedding, advance=advance, say=say,
            )  # fmt: skip
        except KeyboardInterrupt:
            if group.rank == 0:
                say("interrupted; run the same command to resume from the last chunk.")
            raise


def _measured(run: Path, out: Place, chosen: Mapping[str, Any], say: Callable[[str], object]) -> Engine:
    """Return the engine of the existing job, or the fastest."""
    if (kept := engine_of_job(out)) is not None:
        return kept
    engine, why = fastest_engine(run, checkpoint=chosen["checkpoint"], device=chosen["device"], batch=chosen["batch"])
    say(f"engine: {engine} ({why})")
    return engine


def _kept(model: EmbeddingModel) -> CacheChoice | None:
    """Return where a run caches decoded images on disk; existing ones are read, none are added."""
    folder = Path(model.source)
    if model.runtime != "torch" or not (folder / "recipe.yaml").is_file():
        return None
    data = recipe_of_run(folder).data
    return replace(data.cached, complete=False) if data.cache == "disk" and data.cached else None


def _opened(run: Path, engine: Engine | None, checkpoint: str, device: str | None) -> EmbeddingModel:
    return open_by_engine(run, engine, checkpoint=checkpoint, device=device)


def _refuse_without_meaning(
    run: Path, source: Path | str | None, out: Place | None, format: str | None, given: Mapping[str, Any]
) -> None:
    """Raise `CrossreidError` for arguments that do not apply to this run and source, named as the command's options."""
    exported = is_exported(run)
    if (named := pretrained_at(run)) is not None:
        if source is None:
            raise CrossreidError(
                f"{named.name} was not trained here and has no test features of its own. Name a source to embed: crossreid embed "
                f"--backbone {named.name} SOURCE --out DIR."
            )
        if "checkpoint" in given:
            raise CrossreidError(
                f"--checkpoint is for a run; {named.name} has the weights given by --weights. Leave it out."
            )
    if exported and source is None:
        raise CrossreidError(
            f"{run} is an exported file, which has no test features of its own. Name a source to embed: "
            f"crossreid embed {run} SOURCE --out DIR."
        )
    if exported and "checkpoint" in given:
        raise CrossreidError(
            f"--checkpoint is for a run; {run} was exported from one of its checkpoints. Leave it out."
        )
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
            "with SOURCE, --out DIR is required: the folder for embeddings.safetensors and records.parquet."
        )
    for name, known in _CHOICES.items():
        if given.get(name, known[0]) not in known:
            raise CrossreidError(f"--{name.replace('_', '-')} {given[name]!r}: expected {' or '.join(known)}.")
