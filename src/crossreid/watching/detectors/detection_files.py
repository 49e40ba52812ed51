"""The detector `file`: detections by another program, from a file in one of several formats, or a folder of them.

A folder has one file per camera: `CAMERA.txt`, `.jsonl`, `.json` or `.csv`, or the MOT Challenge's
`CAMERA/det/det.txt`.
"""

from __future__ import annotations

from pathlib import Path

from crossreid.data.records import DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.detectors.coco import read_coco
from crossreid.watching.detectors.csv_tables import read_table
from crossreid.watching.detectors.detector_registry import DetectorSettings, register_detector
from crossreid.watching.detectors.json_lines import read_json_lines
from crossreid.watching.detectors.known_detections import DetectionRows, KnownDetections
from crossreid.watching.detectors.motchallenge import read_mot

READERS = {
    ".txt": read_mot,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_coco,
    ".csv": read_table,
}


@register_detector("file", takes=("weights", "classes"))
def of_file(settings: DetectorSettings, camera: Camera) -> KnownDetections:
    """The detections of a camera.

    Raises:
        DataError: no file, none for this camera, or one that cannot be used.
    """
    if settings.weights is None:
        raise DataError("detector 'file': name a file of detections, or a folder of them, instead.")
    path = settings.weights
    file = _in_folder(path, camera) if path.is_dir() else path
    rows = read_detections(file)
    cameras = {name for name in rows.cameras if name is not None}
    if cameras and camera.name not in cameras:
        raise DataError(f"{file} has no detections of camera {camera.name!r}. It has: {', '.join(sorted(cameras))}.")
    if not cameras and file == path and camera.number > 1:
        raise DataError(
            f"{file} does not say which camera it is for, and there are several. Expected a folder with a file for each, "
            f"{camera.name}.txt for example, or a column `camera`."
        )
    try:
        return KnownDetections.of_rows(rows, settings.classes, camera.name)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def read_detections(path: Path) -> DetectionRows:
    """The rows of a file in its suffix's format. Raises `DataError` for an unknown suffix or an unreadable file."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: expected detections as .txt (MOT Challenge), .json (COCO), .jsonl (JSON lines) or .csv."
        )
    try:
        return reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _in_folder(folder: Path, camera: Camera) -> Path:
    places = [folder / f"{camera.name}{suffix}" for suffix in READERS]
    places += [folder / camera.name / kind / f"{kind}.txt" for kind in ("det", "gt")]
    found = [place for place in places if place.is_file()]
    if len(found) != 1:
        what = f"{len(found)} files: {', '.join(place.name for place in found)}" if found else "none"
        raise DataError(
            f"{folder}: expected one file of detections of camera {camera.name!r}, {camera.name}.txt for example; found {what}."
        )
    return found[0]
