"""Scores of tracks against ground truth: per camera, and over all cameras joined, where identities are global.

IDF1, IDP, IDR (Ristani et al., 2016), HOTA with DetA and AssA (Luiten et al., 2021), and MOTA with its identity
switches (Bernardin and Stiefelhagen, 2008), as `trackers.eval` computes them, which follows TrackEval. Boxes match at
IoU 0.5 or more; HOTA is the mean over IoU 0.05, 0.10, ... 0.95.

* *within* cameras: each camera by itself, so a person may have a different number in another camera.
* *across* cameras: the frames of the cameras one after another with one set of identities, so a person is correct only
  with the same number in all of them. A box is matched only within its own camera's frame.

Ground-truth rows with flag 0 and classes other than pedestrians are not required; tracks on a distractor
(`mot_rows.DISTRACTORS`) are not counted as wrong, as in MOT Challenge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from crossreid.data.records import DataError
from crossreid.evaluation.mot_rows import DISTRACTORS, PEDESTRIAN, MotRows, read_mot_rows
from crossreid.extras import needed

IOU = 0.5


@dataclass(frozen=True, slots=True)
class TrackScore:
    """Fractions, and counts: identity `switches`, boxes of the `truth`, `missed` and `false` ones, and how many
    `people` and `identities` are in the truth and in the tracks."""

    idf1: float
    idp: float
    idr: float
    hota: float
    deta: float
    assa: float
    mota: float
    switches: int
    truth: int
    missed: int
    false: int
    people: int
    identities: int


@dataclass(frozen=True, slots=True)
class TrackScores:
    """Scores by camera, over all cameras separately, and over all joined. With one camera the three are the same."""

    cameras: Mapping[str, TrackScore]
    within: TrackScore
    across: TrackScore

    def as_dict(self) -> dict[str, Any]:
        return {
            "iou": IOU,
            "within": asdict(self.within),
            "across": asdict(self.across),
            "cameras": {name: asdict(score) for name, score in self.cameras.items()},
        }


def table(scores: TrackScores) -> Table:
    """Return one row per camera, then all of them within and across: percentages, identity switches (IDSW), and the
    numbers of people and boxes in the truth and of identities in the tracks."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("", no_wrap=True)
    for heading in ("IDF1", "IDP", "IDR", "HOTA", "DetA", "AssA", "MOTA", "IDSW", "people", "ids", "boxes"):
        shown.add_column(heading, justify="right", no_wrap=True)
    rows = {**scores.cameras, "within cameras": scores.within, "across cameras": scores.across}
    for name, score in rows.items():
        shares = (score.idf1, score.idp, score.idr, score.hota, score.deta, score.assa, score.mota)
        counts = (score.switches, score.people, score.identities, score.truth)
        shown.add_row(name, *(f"{100 * share:.1f}" for share in shares), *(f"{count:,}" for count in counts))
    return shown


@dataclass(frozen=True, eq=False, slots=True)
class _Sequence:
    """Input of the metrics, one list item per frame: identities of truth and tracks, and IoU `(truth, tracks)`."""

    truth: list[np.ndarray]
    tracks: list[np.ndarray]
    overlaps: list[np.ndarray]


def score_tracks(truth: Path, tracks: Path) -> TrackScores:
    """Score files of tracks: two files of one camera, or two folders with one CAMERA.txt per camera.

    A camera without a file of tracks found nothing; `crossreid watch` writes no file if nobody was seen.

    Raises:
        DataError: there is nothing to score, a file is of a camera that is not in the truth, rows are invalid
            (`read_mot_rows`), or the library is not installed.
    """
    found = _files(Path(truth), Path(tracks))
    return scores_of(
        {
            name: (read_mot_rows(one), None if other is None else read_mot_rows(other))
            for name, (one, other) in found.items()
        }
    )


def scores_of(cameras: Mapping[str, tuple[MotRows, MotRows | None]]) -> TrackScores:
    """Return the scores of (truth, tracks) by camera. Raises `DataError` if the truth has no row to score."""
    library = needed("trackers.eval", "scoring tracks")
    sequences = {name: _sequence(library, truth, tracks) for name, (truth, tracks) in cameras.items()}
    if not any(len(ids) for sequence in sequences.values() for ids in sequence.truth):
        raise DataError("the truth has no box to score: every row has flag 0, or a class other than 1.")
    alone = {name: _metrics(library, sequence) for name, sequence in sequences.items()}
    joined = _Sequence(
        *(
            [item for sequence in sequences.values() for item in getattr(sequence, part.name)]
            for part in fields(_Sequence)
        )
    )
    within = tuple(
        combine([found[position] for found in alone.values()])
        for position, combine in enumerate(
            (library.aggregate_identity_metrics, library.aggregate_hota_metrics, library.aggregate_clear_metrics)
        )
    )
    people = sum(_different(sequence.truth) for sequence in sequences.values())
    identities = sum(_different(sequence.tracks) for sequence in sequences.values())
    return TrackScores(
        {name: _score(alone[name], _different(one.truth), _different(one.tracks)) for name, one in sequences.items()},
        _score(within, people, identities),
        _score(_metrics(library, joined), _different(joined.truth), _different(joined.tracks)),
    )


def _files(truth: Path, tracks: Path) -> dict[str, tuple[Path, Path | None]]:
    for path in (truth, tracks):
        if not path.exists():
            raise DataError(
                f"{path} not found. Expected a MOT Challenge file, or a folder with one CAMERA.txt per camera."
            )
    if truth.is_dir() != tracks.is_dir():
        raise DataError(f"{truth} and {tracks}: expected two files, or two folders.")
    if truth.is_file():
        return {truth.stem: (truth, tracks)}
    known = {path.stem: path for path in sorted(truth.glob("*.txt"))}
    found = {path.stem: path for path in sorted(tracks.glob("*.txt"))}
    if not known:
        raise DataError(f"{truth}: expected one CAMERA.txt per camera, found no .txt file.")
    if strange := sorted(found.keys() - known.keys()):
        raise DataError(f"{tracks}: {', '.join(strange)} not in the ground truth, which has {', '.join(known)}.")
    if not found:
        raise DataError(f"{tracks}: expected CAMERA.txt for the cameras {', '.join(known)}, found none of them.")
    return {name: (path, found.get(name)) for name, path in known.items()}


def _sequence(library: Any, truth: MotRows, tracks: MotRows | None) -> _Sequence:
    if tracks is None:
        tracks = truth.chosen(np.zeros(len(truth), dtype=bool))  # no rows
    asked = (truth.flags != 0) & (truth.classes == PEDESTRIAN)
    distracting = np.isin(truth.classes, DISTRACTORS)
    if distracting.any():
        tracks = tracks.chosen(_counted(library, truth, distracting, tracks))
    truth = truth.chosen(asked)
    numbers = np.unique(np.concatenate([truth.frames, tracks.frames]))
    made = _Sequence([], [], [])
    for one, other in zip(_by_frame(truth, numbers), _by_frame(tracks, numbers), strict=True):
        made.truth.append(truth.identities[one])
        made.tracks.append(tracks.identities[other])
        made.overlaps.append(_overlaps(library, truth.boxes[one], tracks.boxes[other]))
    return made


def _by_frame(rows: MotRows, numbers: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the rows of each frame in `numbers`, in file order."""
    order = np.argsort(rows.frames, kind="stable")
    starts, ends = (np.searchsorted(rows.frames[order], numbers, side) for side in ("left", "right"))
    return [order[start:end] for start, end in zip(starts, ends, strict=True)]


def _overlaps(library: Any, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    return library.box_iou(one, other, box_format="xyxy")


def _counted(library: Any, truth: MotRows, distracting: np.ndarray, tracks: MotRows) -> np.ndarray:
    """Return which rows of the tracks count: not those matched one to one with a distractor in the truth."""
    counted = np.ones(len(tracks), dtype=bool)
    numbers = np.unique(truth.frames[distracting])
    for one, other in zip(_by_frame(truth, numbers), _by_frame(tracks, numbers), strict=True):
        overlaps = _overlaps(library, truth.boxes[one], tracks.boxes[other])
        scores = np.where(overlaps >= IOU - np.finfo(float).eps, overlaps, 0)
        matched, found = linear_sum_assignment(-scores)
        dropped = (scores[matched, found] > 0) & distracting[one[matched]]
        counted[other[found[dropped]]] = False
    return counted


def _metrics(library: Any, sequence: _Sequence) -> tuple[dict, dict, dict]:
    given = (sequence.truth, sequence.tracks, sequence.overlaps)
    measures: tuple[Callable[..., dict], ...] = (
        library.compute_identity_metrics,
        library.compute_hota_metrics,
        library.compute_clear_metrics,
    )
    identity, hota, clear = (measure(*given) for measure in measures)
    return identity, hota, clear


def _score(metrics: Sequence[Mapping[str, Any]], people: int, identities: int) -> TrackScore:
    identity, hota, clear = metrics
    return TrackScore(
        idf1=float(identity["IDF1"]),
        idp=float(identity["IDP"]),
        idr=float(identity["IDR"]),
        hota=float(hota["HOTA"]),
        deta=float(hota["DetA"]),
        assa=float(hota["AssA"]),
        mota=float(clear["MOTA"]),
        switches=int(clear["IDSW"]),
        truth=int(clear["CLR_TP"] + clear["CLR_FN"]),
        missed=int(clear["CLR_FN"]),
        false=int(clear["CLR_FP"]),
        people=people,
        identities=identities,
    )


def _different(identities: Sequence[np.ndarray]) -> int:
    return len(np.unique(np.concatenate(identities))) if identities else 0
