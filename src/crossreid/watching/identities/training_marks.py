"""People's decisions about identities, as marks that `crossreid gallery marks` turns into a training manifest.

For two tracks that someone declared to be one identity, the best key frame of each is right for every key frame of the
other; for two that someone separated, the best key frames are wrong for each other. Decisions that were later overruled
do not count, nor do those about tracks without images.
"""

from __future__ import annotations

import csv
from pathlib import Path

from crossreid.files import replacing
from crossreid.galleries.marks.exported import ENTRY, FIELDS, guarded
from crossreid.watching.identities.readings import KeptImage, TrackSeen
from crossreid.watching.identities.state import State


def write_marks(state: State, path: Path) -> tuple[int, int]:
    """Write the marks of a watch, which name crops relative to its folder; returns the counts of right and wrong ones.

    `crossreid gallery marks MARKS --images WATCH --out manifest.csv` reads them.
    """
    rows = []
    cameras, model = state.cameras(), state.noted("model") or ""
    for kind, one, other in state.database.read(
        "SELECT kind, track, other_track FROM links WHERE holds AND track IS NOT NULL AND other_track IS NOT NULL ORDER BY row"
    ):
        mark = "right" if kind == "must" else "wrong"
        rows += [
            {**_columns("query_", asking, cameras), **_columns("", matched, cameras), "mark": mark, "model": model}
            for asking, matched in _pairs(state.track_by_number(one), state.track_by_number(other), mark)
        ]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: guarded(cell) for name, cell in row.items()})
    right = sum(row["mark"] == "right" for row in rows)
    return right, len(rows) - right


_Crop = tuple[TrackSeen, KeptImage]


def _pairs(one: TrackSeen | None, other: TrackSeen | None, mark: str) -> list[tuple[_Crop, _Crop]]:
    crops = [[(track, image) for image in track.images if image.path] if track else [] for track in (one, other)]
    if not all(crops):
        return []
    best = [max(some, key=lambda crop: crop[1].quality) for some in crops]
    if mark == "wrong":
        return [(best[0], best[1])]
    return [(best[0], crop) for crop in crops[1]] + [(best[1], crop) for crop in crops[0] if crop is not best[0]]


def _columns(of: str, crop: _Crop, cameras: dict[str, int]) -> dict[str, str]:
    track, image = crop
    name = Path(image.path).stem
    return {
        (of[:-1] or "id"): ENTRY + name if of else name,
        f"{of}path": image.path,
        f"{of}identity": track.name or "",
        f"{of}camera": str(cameras.get(track.camera, 0)),
        f"{of}modality": track.modality.name.lower(),
        f"{of}time": repr(image.time),
    }
