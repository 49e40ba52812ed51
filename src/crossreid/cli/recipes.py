"""`crossreid recipes`: the recipes that come with the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from crossreid.cli.parsing import group
from crossreid.errors import CrossreidError
from crossreid.files import write_text
from crossreid.terminal import console, say

app = group("The recipes that come with crossreid. Commands that take a recipe file also take such a name.")

Name = Annotated[str, typer.Argument(help="A name from `crossreid recipes list`, with or without .yaml.")]
COLUMNS = ("name", "data", "method", "setting", "about")


@app.command(name="list")
def list_(
    data: Annotated[str | None, typer.Option(help="Only recipes for this data set, for example sysu-mm01.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Only recipes of this method, for example variational_distillation.")
    ] = None,
) -> None:
    """List names, data sets, methods, settings and summaries; tab-separated when a program reads."""
    from crossreid.runs.shipped import shipped_recipes

    rows = [
        (recipe.name, recipe.dataset, recipe.method, recipe.setting, recipe.about)
        for recipe in shipped_recipes(data, method)
    ]
    if not console.is_terminal:
        for row in (COLUMNS, *rows):
            typer.echo("\t".join(row))
        return
    widths = [max(len(text) for text in column) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def show(name: Name) -> None:
    """Print a recipe as it was written, with its comments; `crossreid recipe NAME` prints it with every default."""
    from crossreid.runs.shipped import shipped_file

    sys.stdout.write(shipped_file(name).read_text(encoding="utf-8"))


@app.command()
def copy(
    name: Name,
    destination: Annotated[
        Path | None, typer.Argument(help="A file or a folder; by default NAME.yaml in the current folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of your own that you can change."""
    from crossreid.runs.shipped import shipped_file

    file = shipped_file(name)
    target = destination or Path()
    if target.is_dir():
        target /= file.name
    if os.path.lexists(target) and not force:
        raise CrossreidError(f"{target} exists already. Name another destination, or overwrite it with --force.")
    write_text(target, file.read_text(encoding="utf-8"))
    say(f"recipe: {target}")
