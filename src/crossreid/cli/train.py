"""`crossreid train` and `crossreid recipe`: train with a recipe, and print a recipe in full."""

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
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML file, or a name from `crossreid recipes list`.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE by default.")] = None,
    override: Set = None,
    trials: Annotated[
        str | None, typer.Option(help="RegDB: train these trials, 1-10 or 1,3,5, one model each.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="For a recipe with a teacher: train only the teacher or the student.")
    ] = None,
    continue_with: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Continue from the run's last checkpoint with another training.optimiser.lr, schedule, clip or precision.",
        ),
    ] = None,
    framework: Annotated[
        str | None,
        typer.Option(help="torch or mindspore; by default the recipe's, which is torch unless it says otherwise."),
    ] = None,
) -> None:
    """Train with a recipe. Running the same command again continues a killed run."""
    from crossreid.runs.recipe import load_recipe, recipe_of_run

    def report(folder: Path, result: FitResult) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # with several processes, only the first reports
        monitor = recipe_of_run(folder).training.monitor
        best = "" if result.best is None else f", best validation {monitor} {100 * result.best:.2f} %"
        ended = "was already finished" if result.steps == result.steps_before else "finished"
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
    file: Annotated[Path | None, typer.Argument(help="A recipe (file or name) to resolve and print.")] = None,
    override: Set = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key of a recipe instead, as Markdown.")] = False,
) -> None:
    """Print a recipe with every default written out and its number of steps as comments; or list all keys."""
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
