"""The tracks of a watch as benchmarks score them: alone, joined by a fixed cosine, and with the watch's identities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.evaluation.mot_rows import PEDESTRIAN, MotRows
from crossreid.evaluation.track_scores import IOU, TrackScores, scores_of
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.state import open_state

# Cosines that are tried as a threshold: the best of them by the truth itself, which nobody has who sets one.
THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(16))


@dataclass(frozen=True, eq=False, slots=True)
class Track:
    """One track: `frames (n,)` from 0, `boxes (n, 4)`, from `first` to `last` second, embedding `(D,)` of length 1.

    identity: the number that the watch gave it; name: of that identity in the gallery, None where it is unknown.
    """

    camera: str
    frames: np.ndarray
    boxes: np.ndarray
    first: float
    last: float
    embedding: np.ndarray
    identity: int
    name: str | None


def tracks_of(watch: Path) -> list[Track]:
    """All tracks of a watch's folder, in the order of their first frames."""
    found = []
    with open_state(watch, read_only=True) as state:
        names = {seen.identity: seen.name for seen in state.identities()}
        for camera in state.cameras():
            for row in track_rows.select(state.database, "camera = ?", camera):
                frames, boxes = track_rows.boxes_of(state.database, row.row)
                content = state.database.read("SELECT embedding FROM tracks WHERE row = ?", (row.row,))[0][0]
                embedding = track_rows.unpacked(content)
                name = names.get(f"g{row.identity}")
                found.append(Track(camera, frames, boxes, row.first, row.last, embedding, row.identity, name))
    return sorted(found, key=lambda track: (track.first, track.camera))


def labelled(tracks: Sequence[Track], labels: Sequence[int]) -> dict[str, MotRows]:
    """Rows by camera of tracks that have these identities."""
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for track, label in zip(tracks, labels, strict=True):
        kept = (track.frames + 1, np.full(len(track.frames), label, np.int64), track.boxes.astype(np.float64))
        rows.setdefault(track.camera, []).append(kept)
    made = {}
    for camera, parts in rows.items():
        frames, identities, boxes = (np.concatenate(column) for column in zip(*parts, strict=True))
        made[camera] = MotRows(
            frames, identities, boxes, np.ones(len(frames)), np.full(len(frames), PEDESTRIAN, np.int64)
        )
    return made


def scored(truth: Mapping[str, MotRows], tracks: Sequence[Track], labels: Sequence[int]) -> TrackScores:
    found = labelled(tracks, labels)
    return scores_of({camera: (rows, found.get(camera)) for camera, rows in truth.items()})


def within_and_across(scores: TrackScores) -> dict[str, Any]:
    """What is kept of scores beside those of other ways: of all cameras, each alone and joined."""
    return {"within": asdict(scores.within), "across": asdict(scores.across)}


def joined_by_cosine(tracks: Sequence[Track], threshold: float) -> list[int]:
    """Identities by one fixed threshold: each track, in order of time, joins the identity that has the nearest track, if that is
    near enough and has none at the same time in the same camera; else it is a new one."""
    labels: list[int] = []
    members: list[list[int]] = []
    for number, track in enumerate(tracks):
        best, nearest = None, -1.0
        for identity, own in enumerate(members):
            if any(_at_once(tracks[other], track) for other in own):
                continue
            cosine = max(float(tracks[other].embedding @ track.embedding) for other in own)
            if cosine >= threshold and cosine > nearest:
                best, nearest = identity, cosine
        if best is None:
            best = len(members)
            members.append([])
        members[best].append(number)
        labels.append(best + 1)
    return labels


def best_cosine(truth: Mapping[str, MotRows], tracks: Sequence[Track]) -> tuple[float, TrackScores]:
    """The threshold with the highest IDF1 across cameras, and its scores: optimistic, as the truth chooses it."""
    tried = {threshold: scored(truth, tracks, joined_by_cosine(tracks, threshold)) for threshold in THRESHOLDS}
    return max(tried.items(), key=lambda item: item[1].across.idf1)


def _at_once(one: Track, other: Track) -> bool:
    return one.camera == other.camera and one.first <= other.last and other.first <= one.last


def names_given(truth: Mapping[str, MotRows], tracks: Sequence[Track], known: Mapping[int, str]) -> dict[str, Any]:
    """What the watch called people, counted in boxes of tracks that show somebody: of those who are enrolled (`known`, by
    number) the shares with the right name, a wrong one and none; of the others the share that is called by any name."""
    counts: Counter[str] = Counter()
    for track in tracks:
        number = person_of(truth[track.camera], track)
        if number is None:
            continue
        boxes = len(track.frames)
        if number in known:
            counts["right" if track.name == known[number] else "none" if track.name is None else "wrong"] += boxes
        else:
            counts["unknown" if track.name is None else "false"] += boxes
    enrolled = max(1, counts["right"] + counts["none"] + counts["wrong"])
    return {
        "right": counts["right"] / enrolled,
        "wrong": counts["wrong"] / enrolled,
        "none": counts["none"] / enrolled,
        "false": counts["false"] / max(1, counts["false"] + counts["unknown"]),
        "boxes": sum(counts.values()),
    }


def person_of(truth: MotRows, track: Track) -> int | None:
    """Whom most of a track's boxes show, at IoU 0.5 and more; None where most show nobody."""
    found: Counter[int | None] = Counter()
    for frame, box in zip(track.frames, track.boxes, strict=True):
        there = truth.frames == frame + 1
        overlaps = _iou(truth.boxes[there], box)
        at = int(np.argmax(overlaps)) if len(overlaps) else 0
        found[int(truth.identities[there][at]) if len(overlaps) and overlaps[at] >= IOU else None] += 1
    return found.most_common(1)[0][0] if found else None


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared)
