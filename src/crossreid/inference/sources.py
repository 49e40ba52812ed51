"""Sources to embed: a folder of images, a manifest, or a data set of the catalogue, as records in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossreid.data.addresses import Address, Place, is_address, place_of, with_states
from crossreid.data.catalogue import DATASETS, describe, load, recognised
from crossreid.data.image_names import SUFFIXES, LeftOut
from crossreid.data.readers.manifest_rows import MOST, Notes, Outside, read_rows
from crossreid.data.records import DataError, Modality, Record, Split, in_order
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.inference.image_files import image_objects_below, images_below, is_utf8, readable

MANIFESTS = (".csv", ".tsv", ".txt")
PARTS = ("all", "train", "validation", "query", "gallery", "test")


def source_records(
    source: str,
    *,
    modality: str | None = None,
    camera: int | None = None,
    part: str = "all",
    options: dict[str, Any] | None = None,
    left_out: list[tuple[str, str]] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> list[Record]:
    """Return the images of `source`.

    A folder without a manifest.csv: all images in it and its subfolders, by path, of unknown identity. A folder with
    one, or a .csv file: the manifest's rows, in its order; identities may be missing. `NAME:ROOT`: a data set of the
    catalogue. A folder or a manifest may be an address in object storage, and a manifest may list addresses.
    Tables hold paths as UTF-8, so a path that is not UTF-8 is treated as unreadable.

    Args:
        modality: for a folder of images, `visible` (the default) or `infrared`.
        camera: for a folder of images, their camera; unknown (0) by default.
        part: for a data set, one of `PARTS`.
        options: for a data set, its reader's; for a manifest, `outside`.
        say: called with a message for each kind of skipped file, and for notes of a manifest's reader.
        left_out: if given, receives (path, reason) of unreadable folders and of names that are not UTF-8, and the rest
            is returned.

    Raises:
        DataError: no such source, no image, an option that does not apply to the source, or without `left_out` an
            unreadable folder or a name that is not UTF-8.
    """
    if not source:
        raise DataError("SOURCE is empty. Expected a folder of images, a manifest, or NAME:ROOT of a data set.")

    def leave_out(path: Place, reason: str) -> None:
        if left_out is None:
            raise DataError(f"{readable(path)}: {reason} Or leave it out: --on-bad-image skip.")
        left_out.append((readable(path), reason))

    found = []
    for record in _records(source, modality, camera, part, options, leave_out, say):
        if is_utf8(record.path):
            found.append(record)
        else:
            leave_out(record.path, "its name is not UTF-8 (invalid bytes are shown as \\x..); rename it.")
    if not found and left_out:
        raise DataError(f"{source}: none of its images can be read. {left_out[0][0]}: {left_out[0][1]}")
    if not found:
        raise DataError(f"{source} holds no images. Expected files ending in {', '.join(SUFFIXES)}, at any depth.")
    return found


def _records(
    source: str, modality: str | None, camera: int | None, part: str, options: dict[str, Any] | None,
    leave_out: Callable[[Place, str], None], say: Callable[[str], object],
) -> list[Record]:  # fmt: skip
    name, colon, root = source.partition(":")
    if is_address(source) and name not in DATASETS:
        place = place_of(source)
        if isinstance(place, Address):
            return _objects(place, modality, camera, part, options, say)
        source, name, colon, root = str(place), "", "", ""
    path = Path(source)
    if colon and not path.exists():
        describe(name)  # raises for an unknown one, naming the nearest
    if colon and name in DATASETS and not path.exists():
        _refuse(source, "a data set", modality=modality, camera=camera)
        split = load(name, Path(root), **(options or {}))
        for note in split.notes:
            say(f"note: {note}")
        return part_of(split, part)
    if not path.exists():
        raise DataError(f"{source} not found. Expected a folder of images, a manifest, or NAME:ROOT of a data set.")
    manifest = path / "manifest.csv" if path.is_dir() else path
    others = {key: value for key, value in (options or {}).items() if key != "outside" or not manifest.is_file()}
    if part != "all" or others:
        raise DataError(f"{source}: --part and --option are for a data set, NAME:ROOT ({', '.join(DATASETS)}).")
    if manifest.is_file():
        return _listed(source, manifest, modality, camera, options, say)
    kind = _kind(modality, camera)
    _heed_layout(path, modality, say)
    passed_over = LeftOut()
    images = images_below(path, leave_out, passed_over)
    for line in passed_over.lines():
        say(line)
    return [Record(image, "", camera or 0, kind) for image in images]


def _objects(
    source: Address, modality: str | None, camera: int | None, part: str, options: dict[str, Any] | None,
    say: Callable[[str], object],
) -> list[Record]:  # fmt: skip
    """Return the images below an address, or those of the manifest at or below it."""
    named = source.suffix.lower() in MANIFESTS
    manifest = source if named else source / "manifest.csv"
    listed = named or manifest.is_file()
    others = {key: value for key, value in (options or {}).items() if key != "outside" or not listed}
    if part != "all" or others:
        raise DataError(f"{source}: --part and --option are for a data set, NAME:ROOT ({', '.join(DATASETS)}).")
    if listed:
        return _listed(source.text, manifest, modality, camera, options, say)
    kind = _kind(modality, camera)
    passed_over = LeftOut()
    images = image_objects_below(source, passed_over)
    for line in passed_over.lines():
        say(line)
    return [Record(image, "", camera or 0, kind) for image in images]


def _listed(
    source: str, manifest: Place, modality: str | None, camera: int | None, options: dict[str, Any] | None,
    say: Callable[[str], object],
) -> list[Record]:  # fmt: skip
    """Return the rows of a manifest, with its objects' states as listed by the store."""
    _refuse(source, "a manifest", modality=modality, camera=camera)
    if manifest.suffix.lower() not in MANIFESTS:
        raise DataError(f"{source}: expected a folder of images, a manifest (.csv), or NAME:ROOT of a data set.")
    outside: Outside = (options or {}).get("outside", "absolute")
    notes = Notes()
    rows = read_rows(manifest, anonymous=True, outside=outside, notes=notes, addresses=True)
    for note in notes.lines():
        say(f"note: {note}")
    records = [record for record, _ in rows]
    objects = [record.path for record in records if isinstance(record.path, Address)]
    if not objects:
        return records
    placed, why = with_states(objects)
    if why:
        say(f"note: changes to images between two calls go unnoticed. {why}")
    there = dict(zip(objects, placed, strict=True))
    return [replace(record, path=there.get(record.path, record.path)) for record in records]  # type: ignore[arg-type]


def _kind(modality: str | None, camera: int | None) -> Modality:
    if modality not in (None, "visible", "infrared"):
        raise DataError(f"modality {modality!r}: expected visible or infrared.")
    if not 0 <= (camera or 0) <= MOST:
        raise DataError(f"camera {camera}: expected a whole number from 0 to {MOST}.")
    return Modality.INFRARED if modality == "infrared" else Modality.VISIBLE


def _heed_layout(folder: Path, modality: str | None, say: Callable[[str], object]) -> None:
    """Say if a folder is a copy of a data set; raise `DataError` if its infrared images would be taken as visible."""
    name = recognised(folder)
    if name is None:
        return
    known = describe(name)
    if modality is None and any(setting.query is not None for setting in PROTOCOLS[known.protocol].settings):
        raise DataError(
            f"{folder} is laid out as {known.title}, which holds infrared and visible images: as a folder, all would be taken "
            f"for visible ones of unknown cameras. Write {name}:{folder}, or give --modality if all have the same one."
        )
    say(
        f"note: {folder} is laid out as {known.title}; as a folder, its identities and cameras are unknown. {name}:{folder} reads "
        "them."
    )


def part_of(split: Split, part: str) -> list[Record]:
    """Return the images of one part of a data set, or of all, without duplicates, by identity, camera and path."""
    if part not in PARTS:
        raise DataError(f"part {part!r}: expected one of {', '.join(PARTS)}.")
    parts = {"all": (*split.train, *split.validation, *split.test), "test": split.test}
    records: tuple[Record, ...] = parts[part] if part in parts else getattr(split, part)
    if not records:
        raise DataError(f"{split.name} at {split.root}: its part {part!r} is empty.")
    return in_order(set(records))


def _refuse(source: str, what: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{source} is {what}, which states each image's {name} itself. Leave --{name} out.")
