"""`crossreid report`, `plot` and `probe`: what people look at of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.files import key_values
from crossreid.terminal import console


def report(
    runs: Annotated[list[Path], typer.Argument(help="One run, or several that were tested alike.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; by default RUN/report.html, of several report-A-B.html.")
    ] = None,
) -> None:
    """Write a self-contained report.html: scores, curves, ranked lists, t-SNE, losses, the recipe."""
    from crossreid.reporting.report import report as write_report

    page = write_report(runs, out, say=console.print)
    console.print(f"report: {page}", soft_wrap=True)


def plot(
    what: Annotated[
        list[Path], typer.Argument(help="Runs, features (.npz), folders of studies, probes.json or estimators.json.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    title: Annotated[
        list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="What a folder or file is called.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Of features: the protocol of their CMC.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the maps: whom they show, and where.")] = 0,
) -> None:
    """Draw runs, features, studies and probes: every figure as SVG and PNG."""
    from crossreid.reporting.plotting import plot as draw

    titles = key_values(title, "--title", "NAME=TEXT")
    for path in draw(what, out, protocol=protocol, titles=titles, seed=seed, say=console.print):
        console.print(f"figure: {path}", soft_wrap=True)


def probe(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders of seed-* runs.")],
    out: Annotated[Path, typer.Option(help="Folder for probes.json and its figure.")] = Path("probes"),
    world: Annotated[
        Path | None, typer.Option(help="A rendered world with other people; the runs' own by default.")
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Also the first networks before training.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Networks probed at a time.")] = 1,
) -> None:
    """Read identity, clothes, colours, camera, pose and modality off each branch's v and z, on people never seen."""
    from crossreid.analysis.factors_of_runs import probe_runs
    from crossreid.reporting.plotting import plot as draw
    from crossreid.reporting.probe_table import summary_table

    table = probe_runs(runs, out, world=world, untrained=untrained, jobs=jobs, say=console.print)
    console.print(summary_table(table))
    console.print(f"readings: {out / 'probes.json'}", soft_wrap=True)
    for path in draw([out / "probes.json"], out):
        console.print(f"figure: {path}", soft_wrap=True)
