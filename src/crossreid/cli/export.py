"""`crossreid export`: a network as a single file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network, run_and_rest
from crossreid.errors import CrossreidError
from crossreid.terminal import FigureTable, advancing, console, errors, progress_bar

if TYPE_CHECKING:
    from rich.progress import Progress

    from crossreid.inference.exporting.exported import Fidelity


def export(
    run: Annotated[Path | None, typer.Argument(help="A run; omit it with --backbone.")] = None,
    to: Annotated[str, typer.Option(help="onnx, openvino, torch-export or mindspore.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file ending in .onnx, .xml, .pt2 or .ckpt; by default RUN/model or NAME with that suffix."
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, fp16 or int8.")] = "float32",
    batch: Annotated[str, typer.Option(help="dynamic, or the fixed batch size of the file.")] = "dynamic",
    calibration_images: Annotated[
        int | None, typer.Option(min=1, help="For int8: training images to calibrate its ranges on; 300 by default.")
    ] = None,
    measure_scores: Annotated[
        bool,
        typer.Option(
            "--measure-scores/--no-measure-scores", help="For fp16 and int8: compare mAP and rank-1 with float32's."
        ),
    ] = True,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="For fp16 and int8: where the run's images are, data.root=DIR."
        ),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    tolerance: Annotated[float, typer.Option(min=0, help="Largest accepted difference from torch.")] = 1e-4,
    platforms: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="NAME",
            help="Also write what deepstream, triton or tensorrt need; repeatable.",
        ),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(metavar="NAME", help="For deepstream: modality of its images, visible or infrared.")
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --for: largest batch to configure; 32 by default."),
    ] = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
) -> None:
    """Write a network as one file that states its preprocessing, checked against torch on images."""
    if to == "mindspore":
        others = [
            backbone, weights, size, flip, platforms, modality, max_batch, override, calibration_images,
            precision != "float32", batch != "dynamic", not measure_scores,
        ]  # fmt: skip
        _to_mindspore(run, out, checkpoint, tolerance, others)
        return
    _refuse_without_meaning(precision, calibration_images, measure_scores, override)
    from crossreid.inference.exporting.export import export as export_run
    from crossreid.inference.exporting.platforms.platforms import (
        platforms_named,
        refuse_without_modality,
        write_platforms,
    )
    from crossreid.inference.exporting.precision.lowering import Lowering
    from crossreid.inference.exporting.precision.range_images import IMAGES

    wanted = platforms_named(platforms or [], to, precision, modality, max_batch)
    run, rest = run_and_rest(named_network(backbone, weights, size, flip), run, None, "export")
    if rest is not None:
        raise CrossreidError(f"{rest} and --backbone {backbone}: expected either a RUN or --backbone.")
    refuse_without_modality(run, wanted, modality, checkpoint)
    with ExitStack() as shown:
        written = export_run(
            run, to, out, precision=precision, batch=_batch(batch), checkpoint=checkpoint, tolerance=tolerance,  # type: ignore[arg-type]
            lowering=Lowering(calibration_images or IMAGES, override or (), measure_scores),
            say=lambda text: errors.print(text, soft_wrap=True, highlight=False), advancing=_advancing(shown),
        )  # fmt: skip
    console.print(
        f"{written.path}: {written.dimension} dimensions, differs from torch by at most {written.difference:.1e} on "
        f"{written.images} images of {written.compared_on}", soft_wrap=True, highlight=False,
    )  # fmt: skip
    if written.fidelity is not None:
        console.print(_costs(written.precision, written.fidelity))
    if written.log:
        console.print(f"output of the exporter: {written.log}", soft_wrap=True, highlight=False)
    for each in write_platforms(written, run, wanted, modality=modality, batch=max_batch, checkpoint=checkpoint):
        differs = "" if each.difference is None else f", differs from torch by at most {each.difference:.1e}"
        console.print(f"{each.folder}: for {each.platform}, not run here{differs}", soft_wrap=True, highlight=False)
    if written.trained:
        errors.print(f"WARNING: {backbone or run} is {written.trained}; the file says so too.", soft_wrap=True)


def _refuse_without_meaning(
    precision: str, calibration_images: int | None, measure_scores: bool, override: list[str] | None
) -> None:
    if precision != "int8" and calibration_images is not None:
        raise CrossreidError(f"--calibration-images applies to --precision int8; {precision} needs none.")
    if precision == "float32" and (override or not measure_scores):
        option = "--set" if override else "--no-measure-scores"
        raise CrossreidError(f"{option} applies to --precision fp16 and int8, whose loss in accuracy is measured.")


def _advancing(shown: ExitStack) -> Callable[[str], Callable[..., None]]:
    """Return progress bars for the steps of a lower precision, drawn when the first one starts."""
    bars: list[Progress] = []

    def of_step(words: str) -> Callable[..., None]:
        if not bars:
            bars.append(shown.enter_context(progress_bar()))
        return advancing(bars[0], words)

    return of_step


def _costs(precision: str, fidelity: Fidelity) -> FigureTable:
    """float32 and the file side by side: cosines, and scores if they were measured."""
    calibrated = f", ranges of {fidelity.calibrated_on} training images" if fidelity.calibrated_on else ""
    table = FigureTable(
        "", ["", *fidelity.scores, "mean cosine", "least cosine"],
        caption=f"{fidelity.images} images{calibrated}{'; ' if fidelity.protocol else ''}{fidelity.protocol}",
    )  # fmt: skip
    table.add_row("float32", *(f"{100 * full:.2f}" for full, _ in fidelity.scores.values()), "1", "1")
    cosines = (f"{fidelity.mean_cosine:.5f}", f"{fidelity.least_cosine:.5f}")
    table.add_row(precision, *(f"{100 * low:.2f}" for _, low in fidelity.scores.values()), *cosines)
    return table


def _batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65_536:
        raise CrossreidError(f"--batch {text!r}: expected dynamic, or a number of images from 1 to 65536.")
    return int(text)


def _to_mindspore(run: Path | None, out: Path | None, checkpoint: str, tolerance: float, others: list[Any]) -> None:
    from crossreid.mindspore.export import export_mindspore

    if run is None or any(others):
        raise CrossreidError(
            "--to mindspore: expected a RUN with --out, --checkpoint and --tolerance, and nothing else."
        )
    written = export_mindspore(run, out, checkpoint=checkpoint, tolerance=tolerance)
    console.print(
        f"{written.path}: {written.dimension} dimensions, differs from torch by at most {written.difference:.1e} on "
        f"{written.images} images", soft_wrap=True, highlight=False,
    )  # fmt: skip
    if written.trained:
        errors.print(f"WARNING: {run} is {written.trained}; the file says so too.", soft_wrap=True)
