"""`crossreid calibrate`: turn a run's scores into probabilities, and thresholds for given false-accept rates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from crossreid.cli.gallery_options import Collection, Token
from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network
from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, console, errors, printable, progress_bar, say

if TYPE_CHECKING:
    from crossreid.evaluation.calibration import Calibration


def calibrate(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; omit it with --backbone.")] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled images: a manifest (.csv), or NAME:ROOT; default: validation."),
    ] = None,
    on_test: Annotated[
        bool, typer.Option("--on-test", help="Calibrate on the run's own test images: optimistic.")
    ] = False,
    method: Annotated[str, typer.Option(help="isotonic or platt.")] = "isotonic",
    prior: Annotated[
        float | None, typer.Option(help="Share of pairs of the same identity; by default as in the images.")
    ] = None,
    false_accept_rate: Annotated[
        list[float] | None,
        typer.Option(metavar="R", help="False-accept rate; repeatable. 0.001 0.01 0.05 0.1 by default."),
    ] = None,
    tracklets: Annotated[
        bool, typer.Option("--tracklets", help="Also calibrate tracklets, and tracklets against images.")
    ] = False,
    gallery: Annotated[
        list[str] | None,
        typer.Option(metavar="WHERE", help="Also store it in this gallery of the model; repeatable."),
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    out: Annotated[Path | None, typer.Option(help="Folder to write to instead of the run's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the identity folds it is measured on.")] = 0,
    token: Token = None,
    collection: Collection = "crossreid",
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
) -> None:
    """Calibrate a run: turn its scores into probabilities and thresholds. See docs/open_set.md."""
    from crossreid.evaluation.fitted_calibration import RATES
    from crossreid.reporting.reliability_plot import plot_calibration
    from crossreid.runs.calibrating import calibrate as calibrate_run

    network = named_network(backbone, weights, size, flip)
    if (network is None) == (run is None):
        raise CrossreidError("expected either a RUN or --backbone NAME. See `crossreid calibrate --help`.")
    if network is not None and checkpoint != "best":
        raise CrossreidError(f"--checkpoint applies to a run; {network.name} has the weights that --weights names.")
    with progress_bar() as progress:
        made = calibrate_run(
            network or run,  # type: ignore[arg-type]
            on=on, on_test=on_test, method=method, prior=prior, false_accept_rates=false_accept_rate or RATES, tracklets=tracklets,
            checkpoint=checkpoint, out=out, seed=seed, advance=advancing(progress, "images"),
        )  # fmt: skip
    for note in made.notes:
        errors.print(printable(note), soft_wrap=True, highlight=False)
    for kind, one in {"images": made.calibration, **made.calibration.others}.items():
        console.print(_pairs(kind, one))
        console.print(_nearest(kind, one))
    data = made.calibration.data
    say(
        f"{data['images']} images of {data['identities']} identities ({data['name']}, {data['part']}; left out: "
        f"{data['exclusion']}), {method}, at prior {made.calibration.prior:.4g}"
    )
    picture = plot_calibration(made.calibration, made.file)[-1]
    say(f"calibration: {made.file}, {picture}")
    for where in gallery or ():
        from crossreid.galleries import open_gallery

        with open_gallery(where, create=False, token=token, collection=collection) as opened:
            opened.note_calibration(made.calibration)
            say(f"kept in {where}")


_WORDS = {"images": "pairs of images", "sets": "pairs of tracklets", "set-image": "tracklets with images"}


def _pairs(kind: str, calibration: Calibration) -> Table:
    """One row per pair of modalities: how good its curve is, and the pair thresholds with the share that they accept.

    A threshold in brackets rests on too few pairs to tell its rate from 0; a star marks the curve of all pairs.
    """
    rows = [
        [
            f"{name}{'*' if measured.pooled else ''}", f"{measured.pairs:,}", f"{measured.same:,}", f"{measured.ece:.4f}",
            f"{measured.brier:.4f}",
            *_thresholds(calibration.thresholds[name], measured.accepted, measured.pairs - measured.same),
        ]
        for name, measured in calibration.measured.items()
    ]  # fmt: skip
    return _table(_WORDS[kind], ["query-gallery", "pairs", "of one", "ECE", "Brier"], calibration.thresholds, rows)


def _nearest(kind: str, calibration: Calibration) -> Table:
    """One row per pair of modalities: thresholds for the nearest of N entries, with the share of queries found."""
    rows = [
        [
            name, f"{measured.queries:,}", f"{measured.entries:,}",
            *_thresholds(calibration.nearest[name], measured.found, measured.queries),
        ]
        for name, measured in calibration.measured.items()
    ]  # fmt: skip
    heading = f"{_WORDS[kind]}, the nearest entry"
    return _table(heading, ["query-gallery", "queries", "entries"], calibration.thresholds, rows)


def _table(
    heading: str, columns: list[str], thresholds: Mapping[str, Mapping[float, float]], rows: list[list[str]]
) -> Table:
    table = Table(
        title=heading, title_justify="left", box=None, padding=(0, 1, 0, 0)
    )  # fits 80 columns, and cuts nothing
    for column in (*columns, *(f"FAR\n{rate:g}" for rate in next(iter(thresholds.values())))):
        table.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _thresholds(thresholds: Mapping[float, float], right: Mapping[float, float], impostors: int) -> list[str]:
    """`0.676` and, on a line of its own, `(50%)`: the threshold, and the share of true matches that it accepts."""
    cells = []
    for rate, threshold in thresholds.items():
        number = f"{threshold:.3f}" if rate * impostors >= 1 else f"[{threshold:.3f}]"
        cells.append(f"{number}\n({100 * right[rate]:.0f}%)" if rate in right else number)
    return cells
