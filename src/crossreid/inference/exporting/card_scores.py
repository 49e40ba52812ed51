"""Scores found in a run's folder: stored test scores, the best validation, and scores per test camera.

Nothing is embedded here. Measurements of weights other than the exported ones are left out, and a note says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.features import load
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.scores import KEYS, Score, conditions
from crossreid.files import json_rows
from crossreid.inference.exporting.card_schema import CardMeasured, CardScore, CardScores
from crossreid.runs.evaluate import features_file, read_scores
from crossreid.runs.folders import weights_folder

_MOST = 40_000_000  # pairs of a query and a gallery image; with more, ranking by camera takes minutes


def card_scores(folder: Path, checkpoint: str) -> tuple[CardScores, list[Score]]:
    """Return a run's scores for its card, and the stored ones if they are of this checkpoint, `best` or `last`."""
    stored, why = _stored(folder, checkpoint)
    if stored:
        rows = [
            CardScore(
                protocol=score.protocol,
                setting=score.setting,
                figures={key: score.value(key) for key in KEYS},
                conditions=conditions(score),
            )
            for score in stored
        ]
        return CardScores(
            of="test", note="as `crossreid evaluate` stored them beside the run", rows=tuple(rows)
        ), stored
    found = _best_validation(weights_folder(folder) / "metrics.jsonl")
    if found is not None:
        step, figures = found
        row = CardScore(
            protocol="validation",
            setting="validation identities, first setting of the protocol",
            figures=figures,
            conditions=f"the validation with the best mAP while it trained, at step {step:,}; not the published test",
        )
        return CardScores(of="validation", note=why, rows=(row,)), []
    return CardScores(of="nothing", note=f"{why}, and there is no validation either"), []


def _stored(folder: Path, checkpoint: str) -> tuple[list[Score], str]:
    """Return the scores in scores.json, or none and the reason."""
    path = folder / "scores.json"
    if not path.is_file():
        return [], "the run was not evaluated"
    weights = [file.stat().st_mtime for file in weights_folder(folder).glob("*.safetensors")]
    if weights and path.stat().st_mtime < max(weights):
        return [], "scores.json is older than the weights and was ignored"
    wanted = f"{checkpoint}.safetensors"
    of = "best.safetensors" if (weights_folder(folder) / "best.safetensors").is_file() else "last.safetensors"
    try:
        read = read_scores(path)
    except CrossreidError:
        return [], "scores.json is damaged and was ignored"
    if not all(0 <= score.value(key) <= 1 for score in read for key in KEYS):
        return [], "scores.json has figures outside 0 to 1 and was ignored"
    scores = [score for score in read if (score.checkpoint or of) == wanted or of == "last.safetensors"]
    return scores, "scores.json is of another checkpoint and was ignored"


def _best_validation(path: Path) -> tuple[int, dict[str, float]] | None:
    rows = json_rows(path) if path.is_file() else []
    found = [row for row in rows if isinstance(row.get("validation"), dict) and row["validation"]]
    figures = [(int(row["step"]), {k: float(v) for k, v in row["validation"].items() if k in KEYS}) for row in found]
    figures = [row for row in figures if row[1] and all(0 <= value <= 1 for value in row[1].values())]
    return max(figures, key=lambda row: row[1].get("mAP", 0.0)) if figures else None


def measured_parts(folder: Path, scores: list[Score], calibration: Calibration | None) -> tuple[CardMeasured, ...]:
    """Return rank-1 of each camera's queries in the first setting, and the true-accept rate per pair of modalities."""
    return (*(_by_camera(folder, scores[0]) if scores else ()), *_by_pair(calibration))


def _by_camera(folder: Path, score: Score) -> list[CardMeasured]:
    path = features_file(folder)
    if not path.is_file() or score.protocol not in PROTOCOLS or PROTOCOLS[score.protocol].open_set:
        return []
    try:
        features = load(path)
        asking = np.count_nonzero(features.roles != "gallery")
        if asking * np.count_nonzero(features.roles != "query") > _MOST:
            return []
        trial = score.trials[0].trial if score.protocol == "regdb" else None
        (found,) = evaluate(
            features,
            score.protocol,
            metric=score.metric,
            trials=len(score.trials),
            trial=trial,
            settings=[score.setting],
        )
    except (CrossreidError, DataError):  # sets, or missing permutations: rather no figures than no card
        return []
    (each,) = found.each
    rank1 = each.values("rank-1")
    cameras = [camera for camera in np.unique(each.cameras) if camera > 0]
    parts = [(camera, rank1[(each.cameras == camera) & ~np.isnan(rank1)]) for camera in cameras]
    return [
        CardMeasured(
            part=f"queries of camera {camera}, {found.setting}",
            figure="rank-1",
            value=float(own.mean()),
            queries=len(own),
        )
        for camera, own in parts
        if len(own)
    ]


def _by_pair(calibration: Calibration | None) -> list[CardMeasured]:
    if calibration is None:
        return []
    return [
        CardMeasured(
            part=f"{pair}, validation pairs of one identity",
            figure=f"accepted at a false-accept rate of {rate:g}",
            value=float(share),
        )
        for pair, measured in calibration.measured.items()
        for rate, share in sorted(measured.accepted.items())
    ]
