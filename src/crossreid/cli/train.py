"""`crossreid train` and `crossreid recipe`: training by a recipe, and what a recipe says in full."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.cli.parsing import Set, numbers
from crossreid.errors import CrossreidError
from crossreid.terminal import console

if TYPE_CHECKING:
    from crossreid.training.loop import FitResult


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML file, or a name of `crossreid recipes list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE by default.")] = None,
    override: Set = None,
    trials: Annotated[
        str | None, typer.Option(help="RegDB: train these trials, 1-10 or 1,3,5, one model each.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Of a recipe with a teacher: train the teacher or the student alone.")
    ] = None,
    continue_with: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Go on from the run's last checkpoint with another training.optimiser.lr, schedule, clip or precision.",
        ),
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="What computes: torch or mindspore; the recipe's, which is torch, by default.")
    ] = None,
) -> None:
    """Train by a recipe. The same command again goes on where a killed run stopped."""
    from crossreid.runs.recipe import load_recipe, recipe_of_run

    def report(folder: Path, result: FitResult) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # of several processes the first one reports
        monitor = recipe_of_run(folder).training.monitor
        best = "" if result.best is None else f", best validation {monitor} {100 * result.best:.2f} %"
        ended = "was finished already" if result.steps == result.steps_before else "finished"
        console.print(f"{folder} {ended}: {result.steps} steps{best}", soft_wrap=True, highlight=False)

    if framework not in (None, "torch", "mindspore"):
        raise CrossreidError(f"--framework {framework!r}: expected torch or mindspore.")
    chosen = [f"training.framework={framework}"] if framework else []
    resolved = load_recipe(recipe, [*(override or ()), *chosen])
    if resolved.training.framework == "mindspore":
        from crossreid.mindspore.training import train as train_all
    else:
        from crossreid.runs.train import train as train_all
    train_all(
        resolved, out or Path("runs") / recipe.stem,
        trials=numbers(trials) if trials is not None else (), stage=stage, continue_with=continue_with or (), done=report,
    )  # fmt: skip


def recipe(
    file: Annotated[Path | None, typer.Argument(help="A recipe to resolve and print, a file or a name.")] = None,
    override: Set = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key of a recipe instead, as Markdown.")] = False,
) -> None:
    """Print a recipe with every default written out, and as comments how many steps it takes; or list all keys."""
    from crossreid.runs.key_table import keys_as_markdown
    from crossreid.runs.plan import plan_as_comments
    from crossreid.runs.recipe import load_recipe

    if keys == (file is not None):
        raise CrossreidError("expected either a recipe FILE or --keys.")
    if file is None:
        sys.stdout.write(keys_as_markdown())
        return
    resolved = load_recipe(file, override or ())
    sys.stdout.write(resolved.as_yaml() + plan_as_comments(resolved))
