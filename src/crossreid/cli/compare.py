"""`crossreid compare`: runs side by side, with the intervals of their differences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.files import key_values
from crossreid.terminal import advancing, console, progress_bar


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs, or folders of seed-* or trial-* runs or stages; the first is the reference."),
    ],
    out: Annotated[
        list[Path] | None, typer.Option(help="Also write it to this file: .csv, .tex, .md or .json; repeatable.")
    ] = None,
    rerank: Annotated[str | None, typer.Option(help="Also re-rank: k-reciprocal or query-expansion.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of re-ranking.")] = None,
    metric: Annotated[str | None, typer.Option(help="euclidean or cosine; each run's own by default.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the queries.")] = 10_000,
    title: Annotated[
        list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="Name of a run in the table.")
    ] = None,
) -> None:
    """Compare runs on one test: scores, spreads, and differences with paired bootstrap intervals over queries."""
    from crossreid.errors import CrossreidError
    from crossreid.evaluation.reranking_options import make_reranking
    from crossreid.reporting.comparison_table import check_ending, terminal_comparison, write_comparison
    from crossreid.runs.compare import compare as compare_runs

    for path in out or ():
        check_ending(path)
    if option and rerank is None:
        raise CrossreidError("--option applies to re-ranking; name one with --rerank.")
    chosen = make_reranking(rerank, key_values(option, "--option")) if rerank else None
    with progress_bar() as progress:
        found, notes = compare_runs(
            runs, rerank=chosen, metric=metric, checkpoint=checkpoint, confidence=confidence, resamples=resamples,
            titles=key_values(title, "--title", "NAME=TEXT"), advance=advancing(progress, "images"),
        )  # fmt: skip
    console.print(terminal_comparison(found, notes))
    for path in out or ():
        console.print(f"comparison: {write_comparison(found, path)}", soft_wrap=True)
