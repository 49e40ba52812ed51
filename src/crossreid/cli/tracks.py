"""`crossreid score-tracks`: tracks of one camera or of several, with global identities, against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.terminal import console


def score_tracks(
    truth: Annotated[Path, typer.Argument(help="File of MOT Challenge, or a folder with CAMERA.txt for each camera.")],
    tracks: Annotated[Path, typer.Argument(help="The same of the tracks: WATCH/tracks, or of any other tool.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file too.")] = None,
) -> None:
    """Score tracks: IDF1, HOTA and MOTA of each camera alone, and of all cameras joined by global identities."""
    from crossreid.evaluation.track_scores import score_tracks as score
    from crossreid.evaluation.track_scores import table
    from crossreid.files import write_json

    scores = score(truth, tracks)
    console.print(table(scores))
    if json_file is not None:
        write_json(json_file, scores.as_dict())
