"""What several commands share: overrides of a recipe, numbers and ranges, and command groups that print their help."""

from __future__ import annotations

from typing import Annotated

import typer

from crossreid.errors import CrossreidError

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]


def numbers(text: str) -> list[int]:
    """Parse `1-3,7` into [1, 2, 3, 7].

    Raises:
        CrossreidError: anything else.
    """
    result: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise CrossreidError(f"{text!r}: expected numbers and ranges, for example 1-10 or 1,3,5.")
        result.extend(range(int(first), int(last if dash else first) + 1))
    return result


def group(help: str) -> typer.Typer:
    """Return a group of commands that prints its help and exits with status 0 if called without one."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, help=help, invoke_without_command=True)

    @app.callback()
    def bare(context: typer.Context) -> None:
        show_help_if_bare(context)

    return app


def show_help_if_bare(context: typer.Context) -> None:
    """Print a group's help on standard output and exit with status 0 if it was called without a command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
