"""`crossreid import`: a MindSpore checkpoint as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.terminal import say


def import_(
    file: Annotated[Path, typer.Argument(help="A MindSpore checkpoint, .ckpt.")],
    out: Annotated[Path, typer.Option(help="Folder of the run that is made of it.")],
    recipe: Annotated[
        Path | None, typer.Option(help="The recipe that it was trained by, where the file does not say.")
    ] = None,
) -> None:
    """Make a run of a MindSpore checkpoint, which everything else then opens without MindSpore."""
    from crossreid.mindspore.importing import import_checkpoint

    say(f"{import_checkpoint(file, out, recipe=recipe)}: made of {file}")
