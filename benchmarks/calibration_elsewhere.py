"""How well a calibration holds for people it was not fitted on: probabilities and thresholds, applied to other images.

    python benchmarks/calibration_elsewhere.py RUN --on NAME:ROOT --json FILE

The run was calibrated (`crossreid calibrate RUN`). Its curves and thresholds are applied to its own test images and to
the data of each --on. Reported are the error of the probabilities at the share of matches that they are meant for, and
the actual false-accept rates of the thresholds for 0.01.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.evaluation.curve_fitting import class_weights
from crossreid.evaluation.reliability import brier_score, expected_calibration_error
from crossreid.evaluation.scored_pairs import Sides
from crossreid.files import write_json
from crossreid.runs.calibrating import image_features, read_calibration
from crossreid.runs.calibration_images import calibration_images
from crossreid.runs.stored_run import network_of, read_run
from machine import machine

RATE = 0.01
COLUMNS = (
    "images of", "query-gallery", "pairs of one identity", "ECE", "Brier", "of the prior", "FAR 0.01 is, pairs", "accepted",
    "FAR 0.01 is, nearest", "found",
)  # fmt: skip


def measured(calibration: Calibration, sides: Sides, name: str) -> list[dict[str, Any]]:
    """A row for each pair of modalities that the calibration has and the images too."""
    rows = []
    prior = calibration.prior
    assert prior is not None
    for query in Modality:
        for gallery in Modality:
            pairs, nearest = sides.pairs(query, gallery), sides.nearest(query, gallery)
            pair = pair_name(query, gallery)
            if pair not in calibration.curves or not pairs.same.any() or pairs.same.all():
                continue
            said = calibration.probability(pairs.scores, query, gallery)
            weights = class_weights(pairs.same, prior)
            of_pairs = calibration.threshold(RATE, query, gallery)
            of_nearest = calibration.threshold(RATE, query, gallery, nearest=True)
            found = nearest.right & (nearest.best >= of_nearest)
            rows.append({
                "images of": name, "query-gallery": pair, "pairs of one identity": int(pairs.same.sum()),
                "ECE": expected_calibration_error(said, pairs.same, weights),
                "Brier": brier_score(said, pairs.same, weights), "of the prior": prior * (1 - prior),
                "FAR 0.01 is, pairs": float(np.mean(pairs.scores[~pairs.same] >= of_pairs)),
                "accepted": float(np.mean(pairs.scores[pairs.same] >= of_pairs)),
                "FAR 0.01 is, nearest": float(np.mean(nearest.impostor >= of_nearest)),
                "found": float(np.mean(found[nearest.mated])),
            })  # fmt: skip
    return rows


def markdown(result: dict[str, Any]) -> str:
    """The table of the docs."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(_cell(row[name]) for name in COLUMNS)} |" for row in result["rows"]]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--on", action="append", default=[], metavar="NAME:ROOT")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    calibration = read_calibration(given.run)
    if calibration is None:
        parser.error(f"{given.run} has no calibration: run crossreid calibrate {given.run}")
    stored = read_run(given.run)
    network = network_of(stored).eval()
    rows = []
    for on in (None, *given.on):
        images = calibration_images(stored.recipe, str(given.run), on, on is None)
        features = image_features(network, stored.recipe, images, None)
        sides = Sides(features, features, images.exclusion, images.junk)
        rows += measured(calibration, sides, "its own test" if on is None else Path(on.partition(":")[2]).name)
    result = {
        "machine": machine(),
        "method": calibration.method,
        "prior": calibration.prior, "calibrated on": dict(calibration.data), "rows": rows,
    }  # fmt: skip
    print(markdown(result))
    if given.json is not None:
        write_json(given.json, result)


if __name__ == "__main__":
    main()
