"""The factors of a rendered world's images: what is known about each image, and which factors a matcher should keep."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossreid.data.records import DataError, Modality, Record

# Groups of factors as printed, and whether a cross-modal matcher should keep them.
GROUPS = {
    "identity": "predictive",
    "identity across": "predictive",
    "shared": "predictive",
    "visible-only": "view-specific",
    "infrared-only": "view-specific",
    "modality": "view-specific",
    "camera": "superfluous",
    "pose": "superfluous",
}


@dataclass(frozen=True, slots=True)
class Factors:
    """N images of a rendered world: their records, and the columns of factors.csv for each, as text."""

    records: tuple[Record, ...]
    columns: Mapping[str, np.ndarray]

    def take(self, rows: np.ndarray) -> Factors:
        """Return the images that a mask or indices select."""
        index = np.arange(len(self.records))[rows]
        return Factors(
            tuple(self.records[i] for i in index), {name: values[index] for name, values in self.columns.items()}
        )

    @property
    def identities(self) -> np.ndarray:
        return np.array([record.identity for record in self.records])

    @property
    def modalities(self) -> np.ndarray:
        return np.array([int(record.modality) for record in self.records])

    def people(self) -> dict[str, tuple[str, ...]]:
        """Map identities to everything constant over their images: the same person in another world has the same."""
        own = [name for name in self.columns if name.split("_")[0] in ("shared", "visible", "infrared")]
        return {
            identity: tuple(str(self.columns[name][row]) for name in own)
            for row, identity in enumerate(self.identities.tolist())
        }


def read_factors(world: Path) -> Factors:
    """Read the factors of a rendered world. Raises `DataError` if `world` is not one."""
    path = Path(world) / "factors.csv"
    if not path.is_file():
        raise DataError(f"{path} not found: probes need a world with known factors; `crossreid synth` renders one.")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"path", "identity", "camera", "modality", "nuisance_heading"} <= set(rows[0]):
        raise DataError(f"{path} is not a table written by `crossreid synth`; render the world again.")
    records = tuple(
        Record(Path(world) / row["path"], row["identity"], int(row["camera"]), Modality[row["modality"].upper()])
        for row in rows
    )
    return Factors(records, {name: np.array([row[name] for row in rows]) for name in rows[0]})


def numbers_of(factors: Factors, group: str) -> dict[str, np.ndarray]:
    """Return the numeric factors of a group, `(N, k)` each: red, green, blue of a colour, sine, cosine of an angle."""
    found: dict[str, np.ndarray] = {}
    for name, values in factors.columns.items():
        prefix, _, rest = name.partition("_")
        if group == "pose" and rest in ("heading", "phase", "stride"):
            angle = np.radians(values.astype(float)) if rest == "heading" else values.astype(float)
            found[rest] = np.stack([np.sin(angle), np.cos(angle)], 1) if rest != "stride" else angle[:, None]
        elif group == "visible-only" and prefix == "visible":
            found[rest] = np.array([[int(v[i : i + 2], 16) for i in (1, 3, 5)] for v in values], dtype=float)
        elif (group == "infrared-only" and prefix == "infrared") or (group == "shared" and prefix == "shared"):
            try:
                found[rest] = values.astype(float)[:, None]
            except ValueError:
                continue
    return found


def names_of(factors: Factors, group: str) -> dict[str, np.ndarray]:
    """Return the categorical factors of a group, as codes `(N,)` from 0."""
    if group in ("camera", "modality"):
        return {group: np.unique(factors.columns[group], return_inverse=True)[1]}
    if group != "shared":
        return {}
    numeric = set(numbers_of(factors, "shared"))
    return {
        name.removeprefix("shared_"): np.unique(values, return_inverse=True)[1]
        for name, values in factors.columns.items()
        if name.startswith("shared_") and name.removeprefix("shared_") not in numeric
    }
