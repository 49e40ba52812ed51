"""Identities and boxes from annotations: COCO's JSON, and YOLO's text files. Crops are cut when images are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from crossreid.data.drafts.found import Found, as_numbers, files_below, numbered
from crossreid.data.drafts.guesses import seconds_in
from crossreid.data.image_names import LeftOut
from crossreid.data.looks import said_by_exif
from crossreid.data.readers.manifest_rows import SPLITS
from crossreid.data.records import DataError, Record, iso_seconds
from crossreid.errors import CrossreidError

# Keys under which annotations of individuals store the identity, most specific first.
IDENTITY_KEYS = ("identity", "individual_id", "individual", "individual_ids", "person_id", "animal_id", "vehicle_id", "pid", "name",
                 "instance_id", "track_id")  # fmt: skip
_CAMERA_KEYS = ("camera", "camera_id", "location", "location_id", "site")
_TIME_KEYS = ("datetime", "date_captured", "timestamp", "time")


def from_coco(folder: Path, annotations: Path, key: str | None = None) -> Found:
    """Read the annotations of a COCO file that have a box, one image each; pictures are below `folder` or beside the
    file.

    Args:
        key: the annotation key that holds the identity; by default the first of `IDENTITY_KEYS` that occurs or, if
            there are several categories, the category's name.

    Raises:
        DataError: it is not a COCO file, or gives no identity.
    """
    content = _json(annotations)
    pictures = {str(picture.get("id")): picture for picture in _dicts(content, "images", annotations)}
    given = _dicts(content, "annotations", annotations)
    listed = content.get("categories") if isinstance(content.get("categories"), list) else []
    categories = {str(c.get("id")): str(c.get("name", c.get("id"))) for c in listed or [] if isinstance(c, dict)}
    key = key or next((k for k in IDENTITY_KEYS if any(_said(a, k) for a in given)), None)
    if key is None and len(categories) < 2:
        raise DataError(
            f"{annotations}: no annotation gives an identity. Expected one of the keys {', '.join(IDENTITY_KEYS)}, or a category for "
            "each identity; --identity-key names another."
        )
    found = Found(notes=[f"identity: from the annotations' {key!r}" if key else "identity: from the categories' names"])
    camera_key = next((k for k in _CAMERA_KEYS if any(_said(p, k) for p in pictures.values())), None)
    cameras = numbered(_said(picture, camera_key) for picture in pictures.values() if _said(picture, camera_key))
    if camera_key:
        found.known.add("camera")
        found.notes.append(
            f"camera: from the pictures' {camera_key!r}" + (f" ({as_numbers(cameras)})" if as_numbers(cameras) else "")
        )
    for annotation in given:
        picture = pictures.get(str(annotation.get("image_id")))
        name = f"annotation {annotation.get('id', '?')}"
        identity = _said(annotation, key) if key else categories.get(str(annotation.get("category_id")), "")
        if picture is None or not picture.get("file_name"):
            found.left_out.add(name, "annotations without a picture")
            continue
        image = _picture(str(picture["file_name"]), folder, annotations)
        if image is None:
            found.left_out.add(str(picture["file_name"]), "named by the annotations, but not found")
            continue
        if not identity:
            found.left_out.add(name, "annotations without an identity")
            continue
        box = clipped(annotation.get("bbox"), size_of(image))
        if box is None:
            found.left_out.add(name, "annotations without a box inside the picture")
            continue
        time = next((t for k in _TIME_KEYS if (t := _seconds(picture.get(k))) is not None), None)
        camera = cameras.get(_said(picture, camera_key), 0)
        track = annotation.get("track_id") if key != "track_id" else None
        found.rows.append(
            (Record(image, identity, camera, tracklet=None if track is None else str(track), box=box, time=time), "")
        )
    if any(record.time is not None for record, _ in found.rows):
        found.known.add("time")
    if not found.rows:
        raise DataError(
            f"{annotations}: none of its {len(given)} annotations can be used. {'; '.join(found.left_out.lines())}."
        )
    return found


def from_yolo(folder: Path) -> Found:
    """Read one box per line, `class x y width height` in fractions of the picture; a class is an identity.

    Labels are beside the pictures, or in `labels/` if the pictures are in `images/`; class names are in data.yaml,
    classes.txt or obj.names.
    """
    found = Found()
    names, passed_over = _class_names(folder, found), LeftOut()
    images = files_below(folder, passed_over)
    found.left_out.take(passed_over, but="not called an image")  # labels are not images
    for image in images:
        label = _label_of(image, folder)
        if label is None:
            found.left_out.add(str(image), "pictures without a label file")
            continue
        width, height = size_of(image)
        split = next(
            (SPLITS[p.lower()] for p in reversed(image.relative_to(folder).parts[:-1]) if p.lower() in SPLITS), ""
        )
        for number, line in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                kind, x, y, w, h = line.split()[:5]
                centre = [float(value) for value in (x, y, w, h)]
                identity = names.get(int(kind), kind)
            except ValueError as error:
                raise DataError(
                    f"{label}, line {number}: expected `class x y width height`, found {line[:60]!r}."
                ) from error
            cx, cy, across, down = centre
            box = clipped(
                ((cx - across / 2) * width, (cy - down / 2) * height, across * width, down * height), (width, height)
            )
            if box is None:
                found.left_out.add(f"{label}, line {number}", "boxes outside the picture")
                continue
            found.rows.append((Record(image, identity, box=box), split))
    if any(split for _, split in found.rows):
        if all(split for _, split in found.rows):
            found.known.add("split")
        else:
            found.rows = [(record, "") for record, _ in found.rows]
            found.notes.append("split: only some pictures are in folders named after one; not used")
    if not found.rows:
        raise DataError(
            f"{folder} has no labelled picture. Expected a .txt file of `class x y width height` per picture."
        )
    return found


def clipped(box: Any, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Convert (x, y, width, height) to (left, top, right, bottom), whole pixels in a picture of `size`, or None."""
    if not isinstance(box, list | tuple):
        return None
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return None
    if not all(map(math.isfinite, (x, y, width, height))):
        return None
    # Rounding in an annotation's sixth decimal must not add a pixel.
    left, top = max(math.floor(x + 1e-3), 0), max(math.floor(y + 1e-3), 0)
    right, bottom = min(math.ceil(x + width - 1e-3), size[0]), min(math.ceil(y + height - 1e-3), size[1])
    return (left, top, right, bottom) if left < right and top < bottom else None


@lru_cache(4096)
def size_of(image: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture, whose pixels boxes count; (0, 0) if it is not a picture."""
    return said_by_exif(image)[2]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}. Expected COCO annotations.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with `images` and `annotations`, found {type(content).__name__}.")
    return content


def _dicts(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(
            f"{path}: expected a list of objects `{key}`, as COCO files have. Found {type(values).__name__}."
        )
    return values


def _said(given: Mapping[str, Any], key: str | None) -> str:
    """Return a value as text; for a list with one item, that item; '' if there is none."""
    value = given.get(key) if key else None
    if value is None and key:
        attributes = given.get("attributes")
        value = attributes.get(key) if isinstance(attributes, dict) else None
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _picture(name: str, folder: Path, annotations: Path) -> Path | None:
    places = (folder, folder / "images", annotations.parent, annotations.parent.parent / "images")
    return next((place / name for place in places if (place / name).is_file()), None)


def _seconds(value: Any) -> float | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        return iso_seconds(value.strip())
    except CrossreidError:
        return seconds_in(value)


def _label_of(image: Path, folder: Path) -> Path | None:
    inner = list(image.relative_to(folder).parts)
    places = [image.with_suffix(".txt")]
    if "images" in inner:
        inner[inner.index("images")] = "labels"
        places.append(folder.joinpath(*inner).with_suffix(".txt"))
    return next((place for place in places if place.is_file()), None)


def _class_names(folder: Path, found: Found) -> dict[int, str]:
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            names = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("names")
        except (yaml.YAMLError, ValueError, AttributeError, RecursionError):
            continue
        if isinstance(names, list):
            names = dict(enumerate(names))
        if isinstance(names, dict):
            found.notes.append(f"identity: from the classes in {file.name}")
            return {int(k): str(v) for k, v in names.items() if str(k).isdecimal()}
    for name in ("classes.txt", "obj.names", "predefined_classes.txt"):
        if (folder / name).is_file():
            found.notes.append(f"identity: from the classes in {name}")
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    found.notes.append("identity: the class numbers, because no data.yaml, classes.txt or obj.names gives their names")
    return {}
