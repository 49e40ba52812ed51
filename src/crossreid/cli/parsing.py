"""What several commands take: overrides of a recipe, numbers and ranges; and groups of commands that explain themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from crossreid.errors import CrossreidError

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]


def numbers(text: str) -> list[int]:
    """`1-3,7` to [1, 2, 3, 7].

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
    """A group of commands; called without one it prints its help and ends well."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, help=help, invoke_without_command=True)

    @app.callback()
    def bare(context: typer.Context) -> None:
        show_help_if_bare(context)

    return app


def show_help_if_bare(context: typer.Context) -> None:
    """Print the help of a group that was called without a command, on standard output, and end with status 0."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
