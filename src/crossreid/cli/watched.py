"""`crossreid watched`: what a watch stored, by identity; decisions, marks and retention."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from crossreid.cli.parsing import group
from crossreid.errors import CrossreidError
from crossreid.terminal import printable, say

app = group("What a watch has stored: identities, decisions about them, and what to delete.")

Folder = Annotated[Path, typer.Argument(metavar="WATCH", help="The folder that `crossreid watch` writes.")]
By = Annotated[str, typer.Option(help="Who decides; stored with the decision.")]


@app.command()
def identities(folder: Folder) -> None:
    """List who was seen, latest first: name, times, cameras."""
    from crossreid.watching.identities.state import open_state
    from crossreid.watching.moments import moment

    with open_state(folder, read_only=True) as state:
        for one in state.identities():
            say(
                f"{one.identity}: {printable(one.name or 'unknown')}, {one.tracks} tracks in {', '.join(one.cameras)}, "
                f"{moment(one.first)} to {moment(one.last)}"
            )


@app.command()
def merge(
    folder: Folder,
    into: Annotated[str, typer.Argument(help="The identity that stays, g1 for example.")],
    other: Annotated[str, typer.Argument(help="The identity to merge into it.")],
    by: By,
) -> None:
    """Merge two identities into one; a running watch is asked to do it."""
    from crossreid.watching.identities.decisions import ask_merge

    done = ask_merge(folder, into, other, by)
    say(
        "requested; the running watch does it next."
        if isinstance(done, int)
        else f"{other} is {done.identity} from now on."
    )


@app.command()
def split(
    folder: Folder,
    identity: Annotated[str, typer.Argument(help="The identity, g1 for example.")],
    track: Annotated[list[str], typer.Option(help="CAMERA:NUMBER of a track that shows somebody else; repeatable.")],
    by: By,
) -> None:
    """Split off tracks that show somebody else; a running watch is asked to do it."""
    from crossreid.watching.identities.decisions import ask_split
    from crossreid.watching.identities.state import open_state

    with open_state(folder, read_only=True) as state:
        own = {f"{one.camera}:{one.track}": one.number for one in state.tracks_of(identity)}
    for name in track:
        if name not in own:
            raise CrossreidError(f"--track {name}: {identity} has the tracks {', '.join(own) or 'none'}.")
    done = ask_split(folder, identity, [own[name] for name in track], by)
    say(
        "requested; the running watch does it next."
        if isinstance(done, int)
        else f"these tracks are {done.identity} from now on."
    )


@app.command()
def marks(folder: Folder, out: Annotated[Path, typer.Option(help="The file of marks to write.")]) -> None:
    """Write people's decisions as marks, for `crossreid gallery marks`."""
    from crossreid.watching.identities.state import open_state
    from crossreid.watching.identities.training_marks import write_marks

    with open_state(folder, read_only=True) as state:
        right, wrong = write_marks(state, out)
    say(f"{out}: {right} right, {wrong} wrong. A manifest: crossreid gallery marks {out} --images {folder} --out FILE")


@app.command()
def forget(
    folder: Folder,
    before: Annotated[
        str | None, typer.Option(help="Tracks that ended before this time: ISO 8601, or seconds.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Tracks that ended more than this many days ago.")
    ] = None,
    by: By = "retention",
) -> None:
    """Delete tracks, embeddings and crops for good; a running watch is asked to do it."""
    from crossreid.galleries.values import utc_seconds
    from crossreid.watching.identities.decisions import ask_forget

    if (before is None) == (older_than is None):
        raise CrossreidError("expected either --before TIME or --older-than DAYS.")
    until = utc_seconds(before) if before is not None else time.time() - 86_400 * (older_than or 0)
    count = ask_forget(folder, until, by)
    say("requested; the running watch does it next." if count is None else f"{count} tracks deleted.")
