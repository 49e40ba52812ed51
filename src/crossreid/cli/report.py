"""`crossreid report`, `plot` and `probe`: reports, figures and probes of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.files import key_values
from crossreid.terminal import console


def report(
    runs: Annotated[list[Path], typer.Argument(help="One run, or several with the same test.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; by default RUN/report.html, or report-A-B.html for several.")
    ] = None,
) -> None:
    """Write a self-contained report.html: scores, curves, ranked lists, t-SNE, losses, the recipe."""
    from crossreid.reporting.report import report as write_report

    page = write_report(runs, out, say=console.print)
    console.print(f"report: {page}", soft_wrap=True)


def plot(
    what: Annotated[
        list[Path], typer.Argument(help="Runs, features (.npz), study folders, probes.json or estimators.json.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    title: Annotated[
        list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="Name of a folder or file in the figures.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="For features: the protocol of their CMC.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the t-SNE maps: which identities they show, and where.")
    ] = 0,
) -> None:
    """Plot runs, features, studies and probes: every figure as SVG and PNG."""
    from crossreid.reporting.plotting import plot as draw

    titles = key_values(title, "--title", "NAME=TEXT")
    for path in draw(what, out, protocol=protocol, titles=titles, seed=seed, say=console.print):
        console.print(f"figure: {path}", soft_wrap=True)


def probe(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders of seed-* runs.")],
    out: Annotated[Path, typer.Option(help="Folder for probes.json and its figure.")] = Path("probes"),
    world: Annotated[
        Path | None, typer.Option(help="A rendered world with other people; by default the runs' own.")
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Also probe the first run's networks before training.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Networks probed in parallel.")] = 1,
) -> None:
    """Probe each branch's v and z for identity, clothes, colours, camera, pose and modality, on unseen people."""
    from crossreid.analysis.factors_of_runs import probe_runs
    from crossreid.reporting.plotting import plot as draw
    from crossreid.reporting.probe_table import summary_table

    table = probe_runs(runs, out, world=world, untrained=untrained, jobs=jobs, say=console.print)
    console.print(summary_table(table))
    console.print(f"readings: {out / 'probes.json'}", soft_wrap=True)
    for path in draw([out / "probes.json"], out):
        console.print(f"figure: {path}", soft_wrap=True)
