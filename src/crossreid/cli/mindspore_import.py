"""`crossreid import`: turn a MindSpore checkpoint into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.terminal import say


def import_(
    file: Annotated[Path, typer.Argument(help="A MindSpore checkpoint, .ckpt.")],
    out: Annotated[Path, typer.Option(help="Folder of the run to write.")],
    recipe: Annotated[
        Path | None, typer.Option(help="The recipe that it was trained with, if the file does not say.")
    ] = None,
) -> None:
    """Turn a MindSpore checkpoint into a run that every other command opens without MindSpore."""
    from crossreid.mindspore.importing import import_checkpoint

    say(f"{import_checkpoint(file, out, recipe=recipe)}: made from {file}")
