"""`crossreid embed` and `crossreid export`: a trained model as embeddings of any images, and as a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.terminal import advancing, console, errors, progress_bar

Device = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")]


def embed(
    run: Annotated[Path, typer.Argument(help="A run, or with SOURCE also an exported .onnx file.")],
    source: Annotated[
        str | None, typer.Argument(help="A folder of images, a manifest (.csv), or NAME:ROOT of a data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With SOURCE a folder; else file or, for sysu-mat, folder, RUN/features by default."),
    ] = None,
    format: Annotated[str | None, typer.Option(help="Without SOURCE: npz (the default) or sysu-mat.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    modality: Annotated[
        str | None, typer.Option(help="Of a folder of images: visible (the default) or infrared.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Of a folder of images: their camera.")] = None,
    part: Annotated[str, typer.Option(help="Of a data set: all, train, validation, query, gallery or test.")] = "all",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of a data set: an option of its reader.")
    ] = None,
    precision: Annotated[str, typer.Option(help="auto (measured), float32 (the reference) or bf16.")] = "auto",
    on_bad_image: Annotated[str, typer.Option(help="stop, or skip and list in bad_images.csv.")] = "stop",
    batch: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 64,
    chunk: Annotated[int, typer.Option(min=1, help="Images of a chunk, what a kill can cost.")] = 1024,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Loader processes; by default by the number of cores.")
    ] = None,
    device: Device = None,
) -> None:
    """Embed a folder, a manifest or a data set into DIR, resumably; without SOURCE the run's own test features.

    Several processes share a job: torchrun --nproc-per-node N -m crossreid embed ...
    """
    if source is None:
        _test_features(run, out, format or "npz", checkpoint)
        return
    if format is not None:
        raise ValueError(
            "--format is for a run's own test features; with SOURCE, --out DIR gets safetensors and Parquet."
        )
    if out is None:
        raise ValueError("with SOURCE, --out DIR is needed: the folder for embeddings.safetensors and records.parquet.")
    for name, value, known in (
        ("precision", precision, ("auto", "float32", "bf16")),
        ("on-bad-image", on_bad_image, ("stop", "skip")),
    ):
        if value not in known:
            raise ValueError(f"--{name} {value!r}: expected {' or '.join(known)}.")
    from crossreid.recipe import reader_options
    from crossreid.search.bulk import embed_records
    from crossreid.search.model import open_model
    from crossreid.search.processes import loader_workers, process_group
    from crossreid.search.sources import source_records

    with process_group() as group:
        records = source_records(
            source, modality=modality, camera=camera, part=part, options=reader_options(option or [])
        )
        model = open_model(run, checkpoint=checkpoint, device=device or group.device)
        telling = group.rank == 0
        if workers is None:
            workers = loader_workers(model.device, group.world)
        try:
            with progress_bar() as progress:
                done = embed_records(
                    model, records, out, precision=precision, batch=batch, chunk=max(batch, chunk), workers=workers,  # type: ignore[arg-type]
                    on_bad_image=on_bad_image, group=group,  # type: ignore[arg-type]
                    advance=advancing(progress, "images") if telling else None,
                    say=lambda text: errors.print(text, soft_wrap=True, highlight=False),
                )  # fmt: skip
        except KeyboardInterrupt:
            if telling:
                errors.print("interrupted; the same command again goes on from the last chunk.")
            raise
    if telling:
        again = f", {done.before} of the images were done before" if done.before else ""
        console.print(f"embedded {done.rows} images{again}: {done.folder}", soft_wrap=True, highlight=False)
        if done.bad:
            console.print(f"unreadable images: {done.bad}, listed in {done.folder / 'bad_images.csv'}", soft_wrap=True)


def _test_features(run: Path, out: Path | None, format: str, checkpoint: str) -> None:
    from crossreid.runs import write_features

    with progress_bar() as progress:
        written = write_features(run, out, format=format, checkpoint=checkpoint, advance=advancing(progress, "images"))
    console.print(f"features: {written}", soft_wrap=True)


def export(
    run: Annotated[Path, typer.Argument(help="A run.")],
    to: Annotated[str, typer.Option(help="Format: onnx.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File; RUN/model.onnx by default.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    tolerance: Annotated[float, typer.Option(min=0, help="Largest difference from torch that is let through.")] = 1e-4,
) -> None:
    """Write a run's network as one file that says how its images are prepared, checked against torch on images."""
    if to != "onnx":
        raise ValueError(f"--to {to!r}: expected onnx.")
    from crossreid.search.export import export_onnx

    written = export_onnx(run, out, checkpoint=checkpoint, tolerance=tolerance)
    console.print(
        f"{written.path}: {written.dimension} dimensions, differs from torch by at most {written.difference:.1e} on "
        f"{written.images} images", soft_wrap=True, highlight=False,
    )  # fmt: skip
