"""`crossreid score-tracks`: score tracks of one or several cameras, with global identities, against the ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.terminal import console


def score_tracks(
    truth: Annotated[Path, typer.Argument(help="MOT Challenge file, or a folder with one CAMERA.txt per camera.")],
    tracks: Annotated[Path, typer.Argument(help="The tracks, likewise: WATCH/tracks, or any tool's.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the scores to this file.")] = None,
) -> None:
    """Score tracks: IDF1, HOTA and MOTA per camera, and over all cameras joined by global identities."""
    from crossreid.evaluation.track_scores import score_tracks as score
    from crossreid.evaluation.track_scores import table
    from crossreid.files import write_json

    scores = score(truth, tracks)
    console.print(table(scores))
    if json_file is not None:
        write_json(json_file, scores.as_dict())
