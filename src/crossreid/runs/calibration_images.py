"""The images a run is calibrated on: its validation identities, other labelled images or, on explicit request, its test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.data.catalogue import DATASETS, describe
from crossreid.data.levels import with_levels
from crossreid.data.readers.manifest_rows import DISTRACTOR, JUNK, read_rows
from crossreid.data.records import DataError, Record, Split, in_order
from crossreid.errors import CrossreidError
from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA, Exclusion
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.files import short_digest
from crossreid.runs.other_data import OtherData
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import open_split

NO_VALIDATION = (
    "{run} has no validation identities, and calibrating on training pairs would make it look always certain. Name labelled "
    "images that were not used for training: --on NAME:ROOT, or --on FILE.csv. Or calibrate on its test images with --on-test: the "
    "scores of that test then no longer show how good the thresholds are on other data. A new run holds identities out with "
    "data.options.validation."
)


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Query and gallery images, the exclusion rule, identities of distractors, and facts about all of them."""

    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    exclusion: Exclusion
    junk: tuple[str, ...]
    open_set: bool
    facts: dict[str, Any]

    @property
    def records(self) -> list[Record]:
        return in_order({*self.query, *self.gallery})

    def roles(self) -> dict[Record, str]:
        """Map each image to its role: query, gallery or both."""
        asks, answers = set(self.query), set(self.gallery)
        return {
            record: "both" if record in asks and record in answers else "query" if record in asks else "gallery"
            for record in (*self.query, *self.gallery)
        }


def calibration_images(recipe: Recipe, run: str, on: str | None, on_test: bool) -> CalibrationImages:
    """Return the images to calibrate a run of `recipe` on.

    Args:
        run: the run's name, for messages.
        on: a manifest or a folder with one, without its rows of `train`, `junk` and `distractor`; or a data set as
            NAME:ROOT, without its training images.
        on_test: use its own test images.

    Raises:
        CrossreidError: both are given, there are no validation identities, or the data cannot be read.
    """
    if on is not None and on_test:
        raise CrossreidError(f"--on {on} and --on-test: expected one of them.")
    if on is None:
        split = open_split(recipe)
        if on_test:
            return _of_split(split, split.query, split.gallery, "test")
        if not split.validation:
            raise DataError(NO_VALIDATION.format(run=run))
        return _of_split(split, split.validation, split.validation, "validation")
    named = named_data(on)
    return _of_manifest(recipe, Path(on)) if named is None else _of_data_set(recipe, *named)


def named_data(on: str) -> tuple[str, Path] | None:
    """Return data set and folder of NAME:ROOT; None if `on` is a path. Raises `DataError` for an unknown name."""
    name, colon, root = on.partition(":")
    if not colon or Path(on).exists():
        return None
    describe(name)  # raises, with the nearest known names
    return name, Path(root)


def _of_data_set(recipe: Recipe, name: str, root: Path) -> CalibrationImages:
    if name == recipe.data.name and root.resolve() == recipe.data.root.resolve():
        raise CrossreidError(
            f"--on {name}:{root} is what the run was trained on. Leave it out to calibrate on its validation identities, or "
            "give --on-test."
        )
    split = open_split(OtherData(name, root).recipe(recipe))
    return _of_split(split, (*split.query, *split.validation), (*split.gallery, *split.validation), "all but training")


def _of_split(split: Split, query: Sequence[Record], gallery: Sequence[Record], part: str) -> CalibrationImages:
    protocol = PROTOCOLS.get(split.protocol)
    rule = protocol.exclusion if protocol else SAME_IDENTITY_AND_CAMERA
    return CalibrationImages(
        tuple(query), tuple(gallery), rule, protocol.junk if protocol else (), bool(protocol and protocol.open_set),
        _facts(split.name, part, [*query, *gallery]),
    )  # fmt: skip


def _of_manifest(recipe: Recipe, path: Path) -> CalibrationImages:
    file = path / "manifest.csv" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"--on {path}: not found. Expected a manifest (.csv), a folder with manifest.csv, or NAME:ROOT of a data set "
            f"({', '.join(DATASETS)})."
        )
    rows = [record for record, split in read_rows(file) if split not in ("train", JUNK, DISTRACTOR)]
    if not rows:
        raise DataError(f"{file}: no rows are left after removing train, junk and distractor.")
    records = tuple(with_levels(rows, recipe.data.levels))
    return CalibrationImages(
        records, records, SAME_IDENTITY_AND_CAMERA, (), False, _facts("manifest", "all but training", records)
    )


def _facts(name: str, part: str, records: Sequence[Record]) -> dict[str, Any]:
    """Return what is stored about the images: not their paths, but a digest that identifies them."""
    images = in_order(set(records))
    each = [(image.path.name, image.identity, image.camera, image.modality.name) for image in images]
    return {
        "name": name, "part": part, "images": len(images), "identities": len({image.identity for image in images}),
        "digest": short_digest(each),
    }  # fmt: skip
