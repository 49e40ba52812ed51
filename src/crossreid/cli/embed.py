"""`crossreid embed`: embeddings of any images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from crossreid.cli.engines import Engine
from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network, run_and_rest
from crossreid.terminal import advancing, console, errors, progress_bar

Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default a GPU if there is one.")]


def embed(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="A run, or with SOURCE an exported file; omit it with --backbone.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder of images, a manifest (.csv), the address of either, or a data set as NAME:ROOT."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="With SOURCE a folder or an address (s3://...); else a file or, for sysu-mat, a folder, RUN/features by default.",
        ),
    ] = None,
    format: Annotated[str | None, typer.Option(help="Without SOURCE: npz (the default) or sysu-mat.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    modality: Annotated[
        str | None, typer.Option(help="For a folder of images: visible (the default) or infrared.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="For a folder of images: their camera.")] = None,
    part: Annotated[str, typer.Option(help="For a data set: all, train, validation, query, gallery or test.")] = "all",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="For a data set: an option of its reader.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto (measured), float32 (the reference) or bf16; exported files have their own.")
    ] = "auto",
    on_bad_image: Annotated[str, typer.Option(help="stop, or skip and list it in bad_images.csv.")] = "stop",
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 64,
    chunk: Annotated[int, typer.Option(min=1, help="Images per chunk: the most that a kill can lose.")] = 1024,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Loader processes; by default chosen by the number of cores.")
    ] = None,
    device: Device = None,
    engine: Engine = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="For --engine ray: the cluster's address; by default one is started here."
        ),
    ] = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
) -> None:
    """Embed a folder, a manifest or a data set into DIR, resumably; without SOURCE, write the run's test features.

    Several processes can share a job: torchrun --nproc-per-node N -m crossreid embed ...
    """
    from crossreid.inference.embed import embed as embed_images
    from crossreid.inference.processes import is_first_process
    from crossreid.runs.overrides import reader_options

    run, source = run_and_rest(named_network(backbone, weights, size, flip), run, source, "embed")
    chosen: dict[str, Any] = {
        "source": source, "out": out, "format": format, "checkpoint": checkpoint, "modality": modality,
        "camera": camera, "part": part, "options": reader_options(option) if option else None, "precision": precision,
        "on_bad_image": on_bad_image, "batch": batch, "chunk": chunk, "workers": workers, "device": device,
        "engine": engine, "ray_address": ray_address,
    }  # fmt: skip
    given = {name: value for name, value in chosen.items() if name in ("options", "source") or _is_given(context, name)}
    with ExitStack() as shown:
        done = embed_images(
            run, **given, advance=_advancing(shown),
            say=lambda text: errors.print(text, soft_wrap=True, highlight=False),
        )  # fmt: skip
    if isinstance(done, Path):
        console.print(f"features: {done}", soft_wrap=True)
    elif is_first_process():
        before = "all" if done.before == done.rows else done.before
        again = f", {before} of them earlier" if done.before else ""
        console.print(f"embedded {done.rows} images{again}: {done.folder}", soft_wrap=True, highlight=False)
        if done.bad:
            console.print(
                f"left out as unreadable: {done.bad}, listed in {done.folder / 'bad_images.csv'}", soft_wrap=True
            )


def _advancing(shown: ExitStack) -> Callable[..., None]:
    """Return `advance` for a bar that is drawn at its first call, so that an error before it stays one line."""
    started: list[Callable[..., None]] = []

    def advance(done: int, total: int | None = None) -> None:
        if not started:
            started.append(advancing(shown.enter_context(progress_bar()), "images"))
        started[0](done, total)

    return advance


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")
