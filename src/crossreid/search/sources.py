"""What is to be embedded: a folder of images, a manifest, or a data set of the catalogue, as records in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossreid.data.catalog import DATASETS, describe, load
from crossreid.data.manifest import read_rows
from crossreid.data.records import DataError, Modality, Record, Split, in_order

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
PARTS = ("all", "train", "validation", "query", "gallery", "test")


def source_records(
    source: str,
    *,
    modality: str | None = None,
    camera: int | None = None,
    part: str = "all",
    options: dict[str, Any] | None = None,
) -> list[Record]:
    """The images that `source` names.

    A folder without a manifest.csv: all images in it and below, by path, of no known identity. A folder with one, or a
    .csv file: the manifest's rows, in its order; identities may be missing. `NAME:ROOT`: a data set of the catalogue.

    Args:
        modality: of a folder of images, `visible` (the default) or `infrared`.
        camera: of a folder of images; unknown (0) by default.
        part: of a data set, one of `PARTS`.
        options: of a data set, its reader's.

    Raises:
        DataError: nothing there, no image, or an option that the source has no use for.
    """
    name, colon, root = source.partition(":")
    path = Path(source)
    if colon and not path.exists():
        describe(name)  # names what is near to an unknown one
    if colon and name in DATASETS and not path.exists():
        _refuse(source, "a data set", modality=modality, camera=camera)
        return part_of(load(name, Path(root), **(options or {})), part)
    if part != "all" or options:
        raise DataError(f"{source}: --part and --option are for a data set, NAME:ROOT ({', '.join(DATASETS)}).")
    if not path.exists():
        raise DataError(f"{source} not found. Expected a folder of images, a manifest, or NAME:ROOT of a data set.")
    manifest = path / "manifest.csv" if path.is_dir() else path
    if manifest.is_file():
        _refuse(source, "a manifest", modality=modality, camera=camera)
        if manifest.suffix.lower() not in (".csv", ".tsv", ".txt"):
            raise DataError(f"{source}: expected a folder of images, a manifest (.csv), or NAME:ROOT of a data set.")
        return [record for record, _ in read_rows(manifest, anonymous=True)]
    if modality not in (None, "visible", "infrared"):
        raise DataError(f"modality {modality!r}: expected visible or infrared.")
    kind = Modality.INFRARED if modality == "infrared" else Modality.VISIBLE
    found = [Record(image, "", camera or 0, kind) for image in images_below(path)]
    if not found:
        raise DataError(f"{source} holds no image. Expected files that end in {', '.join(SUFFIXES)}, at any depth.")
    return found


def part_of(split: Split, part: str) -> list[Record]:
    """The images of one part of a data set, or of all, each once, by identity, camera and path."""
    if part not in PARTS:
        raise DataError(f"part {part!r}: expected one of {', '.join(PARTS)}.")
    parts = {"all": (*split.train, *split.validation, *split.test), "test": split.test}
    records: tuple[Record, ...] = parts[part] if part in parts else getattr(split, part)
    if not records:
        raise DataError(f"{split.name} at {split.root}: its part {part!r} is empty.")
    return in_order(set(records))


def images_below(folder: Path) -> Iterator[Path]:
    """Files that are called images, at any depth, by path; what is hidden is passed over."""
    names: list[Path] = []
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [Path(above, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    yield from sorted(names, key=lambda path: path.as_posix())


def _refuse(source: str, what: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{source} is {what}, which says each image's {name} itself. Leave --{name} out.")
