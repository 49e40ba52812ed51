"""`crossreid demo`: everything on a rendered world."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from crossreid.extras import modules_of, require
from crossreid.terminal import console


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the world, the runs and the report.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and of the training.")] = 0,
) -> None:
    """Render a small world, train two methods on it, evaluate both, write report.html: about 5 minutes on 2 cores."""
    require("crossreid demo", *modules_of("search"), *modules_of("analysis"))
    from crossreid.demo.demonstration import run_demo
    from crossreid.evaluation.scores import table

    result = run_demo(out, seed=seed, say=console.print)
    shown = [row for row in result.scores if row[1].setting.endswith("single-shot")]
    console.print(table([score for _, score in shown], published=False, names=[name for name, _ in shown]))
    console.print(result.conclusion)
    console.print(f"report: {result.report}", soft_wrap=True)
    program = "crossreid" if shutil.which("crossreid") else sys.argv[0]
    console.print(f"search its gallery: {shlex.join((program, *result.serve))}", soft_wrap=True, highlight=False)
