"""The `crossreid` command: its subcommands put together, and what happens to their errors.

Each subcommand parses, calls one function of the library, and prints. What a person got wrong ends in lines on standard
error and status 2; a bug of the program keeps its traceback and ends with status 1.
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
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
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
    """Run a command and end the process with its status."""
    try:
        status = app(arguments, standalone_mode=False)  # 130 where Ctrl-C ended a command that is not training
    except Interrupted as interrupt:
        errors.print("interrupted; the same command again goes on from the checkpoint.")
        sys.exit(128 + interrupt.signal_number)
    except Exception as caught:
        if os.environ.get(DEBUG):
            raise
        error = missing_extra(caught, "this command") or caught
        if not is_for_people(error):
            errors.print(
                "crossreid: the following is a bug of the program, not of what was given to it; please report it."
            )
            raise
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        errors.print(f"crossreid: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def is_for_people(error: Exception) -> bool:
    """Whether an error's message is meant for the person at the keyboard.

    Ours are, and the command line's own of its options. What the operating system refuses (no permission, no space) is no
    bug either. A library's ValueError is: whoever may cause one is answered by an error of ours before it comes to that.
    """
    return isinstance(error, CrossreidError | OSError) or hasattr(error, "format_message")
