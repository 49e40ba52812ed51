"""Calibrations as JSON: complete in a run's folder, short in a gallery or a file of embeddings.

`calibration.json` has the format, the model's fingerprint, method, prior and data and, by kind (images, sets,
set-image) and pair of modalities, the curve's scores and probabilities, `thresholds`, `nearest` with the number of
gallery `entries` they were measured with, and the other measures. The short text has no measures, and curves with fewer
points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import KINDS, PAIRS, Calibration, Curve, Measured
from crossreid.files import read_json

FORMAT = "crossreid-calibration-1"
FILE = "calibration.json"
AGAIN = "Calibrate again: crossreid calibrate."
_LONGEST = 3900  # bytes of a short text; a row of Milvus holds 4096
_KNOTS = (65, 49, 33, 25, 17, 13, 9, 6)  # points of a curve in a short text: the most that fit


def to_json(calibration: Calibration, *, measures: bool = True) -> dict[str, Any]:
    """Return a calibration as plain values; without `measures`, only what is needed to use it."""
    said: dict[str, Any] = {
        "format": FORMAT, "fingerprint": calibration.fingerprint, "method": calibration.method, "prior": calibration.prior,
        "data": dict(calibration.data), "images": _pairs(calibration, measures),
    }  # fmt: skip
    return said | {kind: _pairs(other, measures) for kind, other in calibration.others.items()}


def _pairs(calibration: Calibration, measures: bool) -> dict[str, Any]:
    return {
        name: {
            "scores": curve.scores.tolist(),
            "probabilities": curve.probabilities.tolist(),
            "thresholds": _rates(calibration.thresholds.get(name, {})),
            "nearest": _rates(calibration.nearest.get(name, {})),
            **({"entries": calibration.entries[name]} if name in calibration.entries else {}),
            **({"measured": _plain(calibration.measured[name])} if measures and name in calibration.measured else {}),
        }
        for name, curve in calibration.curves.items()
    }


def _rates(values: Mapping[float, float]) -> dict[str, float]:
    return {f"{rate:g}": value for rate, value in values.items()}


def _plain(measured: Measured) -> dict[str, Any]:
    return {
        name: value.tolist()
        if isinstance(value, np.ndarray)
        else _rates(value)
        if isinstance(value, Mapping)
        else value
        for name, value in asdict(measured).items()
    }


def read_file(file: Path) -> Calibration:
    """Read the calibration in a file. Raises `DataError` if it is damaged or of another version."""
    try:
        told = read_json(file)
    except CrossreidError as error:
        raise DataError(str(error)) from error
    return from_json(told, file)


def from_json(told: Any, where: object) -> Calibration:
    """Read and check what `to_json` returned.

    Raises:
        DataError: another format, a missing part, or an invalid curve; `where` is named.
    """
    if not isinstance(told, Mapping) or told.get("format") != FORMAT:
        found = told.get("format") if isinstance(told, Mapping) else type(told).__name__
        raise DataError(f"{where} is not a calibration of this version ({found!r}, expected {FORMAT!r}). {AGAIN}")
    try:
        prior = None if told["prior"] is None else float(told["prior"])
        if prior is not None and not 0 < prior < 1:
            raise ValueError(f"prior {prior}")
        common: dict[str, Any] = {
            "prior": prior, "method": str(told["method"]), "fingerprint": str(told["fingerprint"]), "data": dict(told["data"]),
        }  # fmt: skip
        each: dict[str, Calibration] = {kind: _read_pairs(told[kind], common) for kind in KINDS if kind in told}
        images = each.pop("images")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is damaged ({type(error).__name__}: {str(error)[:80]}). {AGAIN}") from error
    return Calibration(
        images.curves, images.thresholds, images.nearest, measured=images.measured, entries=images.entries, others=each,
        **common,
    )  # fmt: skip


def _read_pairs(told: Mapping[str, Any], common: Mapping[str, Any]) -> Calibration:
    curves, thresholds, nearest, measured = {}, {}, {}, {}
    entries: dict[str, int] = {}
    for name, pair in told.items():
        if name not in PAIRS:
            raise ValueError(f"not a pair of modalities: {name}")
        curves[name] = _curve(pair["scores"], pair["probabilities"])
        thresholds[name], nearest[name] = _read_rates(pair["thresholds"]), _read_rates(pair["nearest"])
        if "measured" in pair:
            measured[name] = _read_measured(pair["measured"])
            entries[name] = int(measured[name].entries)
        if "entries" in pair:
            entries[name] = int(pair["entries"])
    return Calibration(curves, thresholds, nearest, measured=measured, entries=entries, **common)


def _curve(scores: Any, probabilities: Any) -> Curve:
    knots, values = np.asarray(scores, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if knots.ndim != 1 or not len(knots) or knots.shape != values.shape:
        raise ValueError("a curve without points, or with different numbers of scores and probabilities")
    if not (np.diff(knots) > 0).all() or not (np.diff(values) >= 0).all():
        raise ValueError("a curve that is not increasing")
    if not (np.isfinite(knots).all() and values[0] >= 0 and values[-1] <= 1):
        raise ValueError("a curve whose values are not probabilities")
    return Curve(knots, values)


def _read_rates(told: Mapping[str, Any]) -> dict[float, float]:
    return {float(rate): float(value) for rate, value in told.items()}


def _read_measured(told: Mapping[str, Any]) -> Measured:
    values = {field.name: told[field.name] for field in fields(Measured)}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = np.asarray(value, dtype=np.float64)
        elif isinstance(value, Mapping):
            values[name] = _read_rates(value)
    return Measured(**values)


def short_text(calibration: Calibration) -> str:
    """Return a calibration in at most 3900 bytes: pairs share a common curve, and curves have up to 65 points, as fits.

    Scores keep six decimals and thresholds are rounded up, because some networks have all scores very close to 1;
    probabilities keep five decimals.

    Raises:
        DataError: it does not fit.
    """
    for most in _KNOTS:
        text = json.dumps(_short(calibration, most), separators=(",", ":"))
        if len(text) <= _LONGEST:
            return text
    raise DataError(
        "the calibration has too many thresholds to be stored there. Calibrate with fewer --false-accept-rate."
    )


def _short(calibration: Calibration, most: int) -> dict[str, Any]:
    curves: list[list[list[int]]] = []
    kinds: dict[str, Any] = {}
    for kind, one in {"images": calibration, **calibration.others}.items():
        kinds[kind] = {}
        for name, curve in one.curves.items():
            thin = curve.thinned(most)
            knots, first = np.unique(np.round(thin.scores * 10**6).astype(int), return_index=True)
            values = np.clip(np.round(thin.probabilities[first] * 10**5), 1, 10**5 - 1).astype(int)
            points = [knots.tolist(), values.tolist()]
            if points not in curves:
                curves.append(points)
            kinds[kind][name] = [
                curves.index(points), *(
                    {f"{rate:g}": float(np.ceil(value * 10**6)) / 10**6 for rate, value in kept.get(name, {}).items()}
                    for kept in (one.thresholds, one.nearest)
                ), *((one.entries[name],) if name in one.entries else ()),
            ]  # fmt: skip
    return {
        "format": FORMAT, "fingerprint": calibration.fingerprint, "method": calibration.method, "prior": calibration.prior,
        "curves": curves, "kinds": kinds,
    }  # fmt: skip


def from_short_text(text: str, where: object) -> Calibration:
    """Read what `short_text` wrote. Raises `DataError`, naming `where`, if it is damaged."""
    try:
        told = json.loads(text)
        whole = {key: told[key] for key in ("format", "fingerprint", "method", "prior")} | {"data": {}}
        for kind, pairs in told["kinds"].items():
            whole[kind] = {
                name: {
                    "scores": [score / 10**6 for score in told["curves"][place][0]],
                    "probabilities": [value / 10**5 for value in told["curves"][place][1]],
                    "thresholds": thresholds,
                    "nearest": nearest,
                    **({"entries": entries[0]} if entries else {}),
                }
                for name, (place, thresholds, nearest, *entries) in pairs.items()
            }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: its calibration is damaged ({type(error).__name__}). {AGAIN}") from error
    return from_json(whole, where)
