"""`crossreid embed` and `crossreid export`: a trained model as embeddings of any images, and as a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, console, errors, progress_bar

Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU where there is one.")]


# What `embed` does without SOURCE has no use for any other option; and an exported file is not of a checkpoint.
_OF_TEST_FEATURES = ("run", "source", "out", "format", "checkpoint")


def embed(
    context: typer.Context,
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
    given = [name for name in context.params if _is_given(context, name)]
    if run.suffix.lower() == ".onnx" and source is None:
        raise CrossreidError(
            f"{run} is an exported file, which has no test features of its own. Name what is to be embedded: "
            f"crossreid embed {run} SOURCE --out DIR."
        )
    if run.suffix.lower() == ".onnx" and "checkpoint" in given:
        raise CrossreidError(f"--checkpoint is of a run; {run} was exported from one of its checkpoints. Leave it out.")
    if source is None:
        unused = [f"--{name.replace('_', '-')}" for name in given if name not in _OF_TEST_FEATURES]
        if unused:
            raise CrossreidError(
                f"{', '.join(unused)} {'has' if len(unused) == 1 else 'have'} no meaning for a run's own test features. Name a "
                "SOURCE, or leave that out."
            )
        _test_features(run, out, format or "npz", checkpoint)
        return
    if format is not None:
        raise CrossreidError(
            "--format is for a run's own test features; with SOURCE, --out DIR gets safetensors and Parquet."
        )
    if out is None:
        raise CrossreidError(
            "with SOURCE, --out DIR is needed: the folder for embeddings.safetensors and records.parquet."
        )
    for name, value, known in (
        ("precision", precision, ("auto", "float32", "bf16")),
        ("on-bad-image", on_bad_image, ("stop", "skip")),
    ):
        if value not in known:
            raise CrossreidError(f"--{name} {value!r}: expected {' or '.join(known)}.")
    from crossreid.inference.bulk import embed_records
    from crossreid.inference.model import open_model
    from crossreid.inference.processes import loader_workers, process_group
    from crossreid.inference.sources import source_records
    from crossreid.runs.overrides import reader_options

    with process_group() as group:
        left_out: list[tuple[str, str]] = []
        records = source_records(
            source, modality=modality, camera=camera, part=part, options=reader_options(option or []),
            left_out=left_out if on_bad_image == "skip" else None,
        )  # fmt: skip
        model = open_model(run, checkpoint=checkpoint, device=device or group.device)
        telling = group.rank == 0
        if workers is None:
            workers = loader_workers(model.device, group.world)
        try:
            with progress_bar() as progress:
                done = embed_records(
                    model, records, out, precision=precision, batch=batch, chunk=max(batch, chunk), workers=workers,  # type: ignore[arg-type]
                    on_bad_image=on_bad_image, left_out=left_out, group=group,  # type: ignore[arg-type]
                    advance=advancing(progress, "images") if telling else None,
                    say=lambda text: errors.print(text, soft_wrap=True, highlight=False),
                )  # fmt: skip
        except KeyboardInterrupt:
            if telling:
                errors.print("interrupted; the same command again goes on from the last chunk.")
            raise
    if telling:
        before = "all" if done.before == done.rows else done.before
        again = f", {before} of them before" if done.before else ""
        console.print(f"embedded {done.rows} images{again}: {done.folder}", soft_wrap=True, highlight=False)
        if done.bad:
            console.print(
                f"left out, unreadable: {done.bad}, listed in {done.folder / 'bad_images.csv'}", soft_wrap=True
            )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _test_features(run: Path, out: Path | None, format: str, checkpoint: str) -> None:
    from crossreid.runs.run import write_features

    with progress_bar() as progress:
        written = write_features(run, out, format=format, checkpoint=checkpoint, advance=advancing(progress, "images"))
    console.print(f"features: {written}", soft_wrap=True)


def export(
    run: Annotated[Path, typer.Argument(help="A run.")],
    to: Annotated[str, typer.Option(help="Format: onnx.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="A file that ends in .onnx; RUN/model.onnx by default.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    tolerance: Annotated[float, typer.Option(min=0, help="Largest difference from torch that is let through.")] = 1e-4,
) -> None:
    """Write a run's network as one file that says how its images are prepared, checked against torch on images."""
    if to != "onnx":
        raise CrossreidError(f"--to {to!r}: expected onnx.")
    from crossreid.inference.export import export_onnx

    written = export_onnx(run, out, checkpoint=checkpoint, tolerance=tolerance)
    console.print(
        f"{written.path}: {written.dimension} dimensions, differs from torch by at most {written.difference:.1e} on "
        f"{written.images} images", soft_wrap=True, highlight=False,
    )  # fmt: skip
