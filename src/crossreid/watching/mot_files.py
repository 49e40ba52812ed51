"""`WATCH/tracks/CAMERA.txt`: where each identity was in each frame, in MOT Challenge format.

A row is `frame, id, left, top, width, height, score, -1, -1, -1`; frames count from 1, and the id is the number of the
global identity after all merges, so that the files of several cameras can be joined. Trackers return no score, so it
is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossreid.files import replacing
from crossreid.watching.identities.readings import Readings

FOLDER = "tracks"


def write_anew(folder: Path, state: Readings) -> None:
    """Rewrite the files of all cameras from the current state."""
    if (Path(folder) / FOLDER).is_dir():
        write_mot_files(Path(folder), state, list(state.cameras()))


def write_mot_files(folder: Path, state: Readings, cameras: Sequence[str]) -> None:
    """Write one file per camera atomically, in order of frames and identities."""
    for camera in cameras:
        with replacing(folder / FOLDER / f"{camera}.txt") as temporary, temporary.open("w", encoding="ascii") as stream:
            for frame, identity, box in state.mot_rows(camera):
                left, top, right, bottom = (float(side) for side in box)
                stream.write(
                    f"{frame + 1},{identity},{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},1,-1,-1,-1\n"
                )
