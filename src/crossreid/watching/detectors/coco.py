"""Detections in COCO format: annotations with their images, or results, a list of `image_id`, `bbox`, `category_id`,
`score`.

In annotations, the frame of an image is its `frame` (from 0), its `frame_id` (from 0 or from 1, whichever the lowest
one is), or else its rank by file name. Images may be from several cameras: by `video_id` and the list `videos`, by a
key `camera`, or by the folder in their file names. In results, `image_id` is the frame, from 0.
"""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

from crossreid.data.image_names import numbers_in_order
from crossreid.data.records import DataError
from crossreid.watching.detectors.known_detections import DetectionRows


def read_coco(path: Path) -> DetectionRows:
    """The rows of a file of annotations or results. Raises `DataError` for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}. Expected COCO's annotations or results.") from error
    if isinstance(content, list):
        return _of_results(content, path)
    if (
        isinstance(content, dict)
        and isinstance(content.get("images"), list)
        and isinstance(content.get("annotations"), list)
    ):
        return _of_annotations(content, path)
    raise DataError(
        f"{path}: expected an object with `images` and `annotations`, or a list of results, in COCO format."
    )


def _of_results(results: list[Any], path: Path) -> DetectionRows:
    rows = DetectionRows()
    for number, result in enumerate(results, start=1):
        frame = result.get("image_id") if isinstance(result, dict) else None
        if isinstance(frame, bool) or not isinstance(frame, int) or frame < 0:
            raise DataError(
                f"{path}, result {number}: expected image_id to be the frame's number, from 0; found {frame!r}."
            )
        rows.add(frame, _box(result, path, number), _score(result, path, number), _label(result, {}))
    return rows


def _of_annotations(content: dict[str, Any], path: Path) -> DetectionRows:
    images = [image for image in content["images"] if isinstance(image, dict)]
    videos = {
        str(video.get("id")): str(video.get("name")) for video in content.get("videos") or [] if isinstance(video, dict)
    }
    names = {str(c.get("id")): str(c.get("name")) for c in content.get("categories") or [] if isinstance(c, dict)}
    cameras = {str(image.get("id")): _camera(image, videos) for image in images}
    frames: dict[str, int] = {}
    for camera in dict.fromkeys(cameras.values()):
        frames |= _frames([image for image in images if cameras[str(image.get("id"))] == camera], path)
    several = len(set(cameras.values())) > 1 or bool(videos)
    rows = DetectionRows()
    for number, annotation in enumerate(content["annotations"], start=1):
        image = str(annotation.get("image_id")) if isinstance(annotation, dict) else ""
        if image not in frames:
            raise DataError(f"{path}, annotation {number}: image_id {image!r} is not one of the images.")
        score = _score(annotation, path, number)
        camera = cameras[image] if several else None
        rows.add(frames[image], _box(annotation, path, number), score, _label(annotation, names), camera)
    return rows


def _frames(images: list[dict[str, Any]], path: Path) -> dict[str, int]:
    """The frame of each image of a camera, by the image's id."""
    for key in ("frame", "frame_id"):
        said = {str(image.get("id")): image.get(key) for image in images}
        numbers = {name: value for name, value in said.items() if isinstance(value, int) and value >= 0}
        if len(numbers) == len(said):
            first = 1 if key == "frame_id" and min(numbers.values(), default=0) == 1 else 0
            return {name: number - first for name, number in numbers.items()}
    if not all(isinstance(image.get("file_name"), str) for image in images):
        raise DataError(f"{path}: expected a `frame`, a `frame_id` or a `file_name` for each image.")
    ordered = sorted(images, key=lambda image: numbers_in_order(image["file_name"]))
    return {str(image.get("id")): position for position, image in enumerate(ordered)}


def _camera(image: dict[str, Any], videos: dict[str, str]) -> str | None:
    if str(image.get("video_id")) in videos:
        return PurePosixPath(videos[str(image["video_id"])]).stem
    if image.get("camera") is not None:
        return str(image["camera"])
    folder = PurePosixPath(str(image.get("file_name", ""))).parent
    return (
        folder.parent if folder.name == "img1" else folder
    ).name or None  # the MOT Challenge's CAMERA/img1/000001.jpg


def _box(row: dict[str, Any], path: Path, number: int) -> tuple[float, float, float, float]:
    box = row.get("bbox")
    try:
        left, top, width, height = map(float, box if isinstance(box, list) else ())
        finite = all(map(math.isfinite, (left, top, width, height)))
    except (TypeError, ValueError):
        finite = False
    if not finite:
        raise DataError(f"{path}, row {number}: expected bbox [left, top, width, height], found {box!r}.")
    return left, top, left + width, top + height


def _score(row: dict[str, Any], path: Path, number: int) -> float:
    score = row.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise DataError(f"{path}, row {number}: expected a score from 0 to 1, found {score!r}.")
    return float(score)


def _label(row: dict[str, Any], names: dict[str, str]) -> str | None:
    category = row.get("category_id")
    return None if category is None else names.get(str(category), str(category))
