"""The `crossreid` command: its subcommands, and how their errors are handled.

Each subcommand parses its arguments, calls one function of the library and prints the result. A user's mistake ends in a
message on standard error and status 2; a bug in the program keeps its traceback and ends with status 1.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from crossreid import __version__
from crossreid.cli import (
    ablate,
    calibrate,
    cluster,
    compare,
    data,
    demo,
    embed,
    evaluate,
    export,
    fuse,
    gallery,
    mindspore_import,
    recipes,
    report,
    serve,
    tracks,
    train,
    views,
    watch,
    watched,
)
from crossreid.cli.parsing import show_help_if_bare
from crossreid.errors import CrossreidError
from crossreid.extras import missing_extra
from crossreid.registry import use_plugin
from crossreid.terminal import console, errors
from crossreid.training.signals import Interrupted

DEBUG = "CROSSREID_DEBUG"

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    epilog=f"With {DEBUG}=1 in the environment every error shows its traceback.",
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE", help="A module that adds methods, data sets, backbones or losses (docs/extending.md)."
        ),
    ] = None,
) -> None:
    """Re-identification across modalities and views: train, evaluate by published protocols, report."""
    if version:
        console.print(f"crossreid {__version__}")
        raise typer.Exit
    for module in plugin or ():
        use_plugin(module)
    show_help_if_bare(context)


for command in (
    demo.demo, data.synth, data.manifest, data.check, train.train, evaluate.evaluate, evaluate.rank, fuse.fuse,
    calibrate.calibrate, compare.compare, report.probe, report.plot, report.report, train.recipe, embed.embed,
    export.export, cluster.cluster, watch.watch, tracks.score_tracks, serve.serve,
):  # fmt: skip
    app.command()(command)
app.command("import")(mindspore_import.import_)
for name, commands in (
    ("recipes", recipes.app),
    ("ablate", ablate.app),
    ("views", views.app),
    ("gallery", gallery.app),
    ("keys", serve.app),
    ("watched", watched.app),
):
    app.add_typer(commands, name=name)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status."""
    try:
        status = app(arguments, standalone_mode=False)  # 130 where Ctrl-C stopped a command other than training
    except Interrupted as interrupt:
        errors.print("interrupted; run the same command again to continue from the checkpoint.")
        sys.exit(128 + interrupt.signal_number)
    except Exception as caught:
        if os.environ.get(DEBUG):
            raise
        error = missing_extra(caught, "this command") or caught
        if not is_for_people(error):
            errors.print("crossreid: the following is a bug in the program, not in your input; please report it.")
            raise
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        errors.print(f"crossreid: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def is_for_people(error: Exception) -> bool:
    """Return whether an error's message is meant for the user.

    Our own errors are, and those that the command line raises about its options. What the operating system refuses (no
    permission, no space) is no bug either. A library's ValueError is a bug: code that may cause one must raise an error of
    ours first.
    """
    return isinstance(error, CrossreidError | OSError) or hasattr(error, "format_message")
