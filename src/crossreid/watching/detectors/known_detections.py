"""Precomputed detections, frame by frame: from files, and from other Python libraries.

Supervision's and FiftyOne's detections are accepted as they are; neither library needs to be installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.watching.detections import Detections
from crossreid.watching.frames import Frame

LAST = 1 << 53  # the largest frame index
NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(slots=True)
class DetectionRows:
    """Detections of many frames, one row each, as in a file.

    frames: positions from 0; boxes: left, top, right, bottom in pixels; scores; labels and cameras, None if not stated.
    notes: how they were interpreted, for people.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    cameras: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        frame: int,
        box: tuple[float, float, float, float],
        score: float = 1.0,
        label: str | None = None,
        camera: str | None = None,
    ) -> None:
        self.frames.append(frame)
        self.boxes.append(box)
        self.scores.append(score)
        self.labels.append(label)
        self.cameras.append(camera)


class KnownDetections:
    """A detector that looks up detections by the frame's position; none for a frame that is not listed.

    notes: how the file they come from was interpreted, for people.
    """

    def __init__(self, by_index: Mapping[int, Detections], notes: Sequence[str] = ()) -> None:
        self.by_index, self.notes = dict(by_index), tuple(notes)

    @classmethod
    def of_rows(cls, rows: DetectionRows, classes: Sequence[str] = (), camera: str | None = None) -> KnownDetections:
        """The rows of a file that are for `camera` or for none, and, if classes are given, of one of them.

        Boxes without area are left out and noted.

        Raises:
            DataError: no row is of one of the classes, or scores or boxes are unusable numbers.
        """
        wanted = {name.lower() for name in classes}
        if wanted and rows.frames and not wanted & {(label or "").lower() for label in rows.labels}:
            known = sorted({label for label in rows.labels if label})
            raise DataError(
                f"no detection is of the classes {', '.join(classes)}. Found: {', '.join(known) or 'none'}."
            )
        keep = [
            number
            for number, (label, of) in enumerate(zip(rows.labels, rows.cameras, strict=True))
            if (not wanted or (label or "").lower() in wanted) and of in (None, camera)
        ]
        boxes = np.array([rows.boxes[number] for number in keep], dtype=np.float32).reshape(-1, 4)
        scores = np.array([rows.scores[number] for number in keep], dtype=np.float32)
        if max(rows.frames, default=0) > LAST:
            raise DataError(f"a frame has the number {max(rows.frames)}; expected positions of frames.")
        frames = np.array([rows.frames[number] for number in keep], dtype=np.int64)
        flat = ~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])) & np.isfinite(boxes).all(1)
        notes = list(rows.notes)
        if flat.any():
            notes.append(f"left out, {flat.sum():,}: boxes without area (for example in frame {frames[flat][0]})")
        boxes, scores, frames = boxes[~flat], scores[~flat], frames[~flat]
        order = np.argsort(frames, kind="stable")
        every, starts = np.unique(frames[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(every) else []
        return cls(
            {int(frame): Detections(boxes[part], scores[part]) for frame, part in zip(every, parts, strict=True)}, notes
        )

    def detect(self, frame: Frame) -> Detections:
        return self.by_index.get(frame.index, NONE)


def from_supervision(found: Any, classes: Iterable[str | int] = ()) -> Detections:
    """Supervision's `Detections` (`xyxy`, `confidence`, `class_id`, `data["class_name"]`) converted to ours.

    Without confidence, scores are 1.

    Args:
        classes: names or numbers of the wanted ones; none for all.
    """
    boxes = np.asarray(found.xyxy, dtype=np.float32).reshape(-1, 4)
    scores = np.ones(len(boxes)) if found.confidence is None else np.asarray(found.confidence)
    wanted = {str(one).lower() for one in classes}
    keep = np.ones(len(boxes), dtype=bool)
    if wanted:
        names = (getattr(found, "data", None) or {}).get("class_name")
        numbers = found.class_id
        if names is None and numbers is None:
            raise DataError("supervision's detections have no classes: expected class_id, or data['class_name'].")
        keep = np.zeros(len(boxes), dtype=bool)
        for said in (names, numbers):
            if said is not None:
                keep |= np.array([str(one).lower() in wanted for one in said], dtype=bool)
    return Detections(boxes[keep], scores[keep].astype(np.float32))


def from_fiftyone(
    found: Any, size: tuple[int, int] | None = None, *, field: str = "detections", classes: Iterable[str] = ()
) -> Detections:
    """FiftyOne's `Detections` converted to ours: relative boxes become pixels; without confidence, scores are 1.

    Args:
        found: a sample or a frame of one, whose `field` is used, or the value of that field.
        size: (height, width) of the picture; for a sample, by default from its metadata.
        classes: wanted labels; none for all.

    Raises:
        DataError: the size is unknown, or there is no such field.
    """
    held = found if isinstance(getattr(found, "detections", None), list) else _field(found, field)
    if size is None:
        metadata = getattr(found, "metadata", None)
        if metadata is None or getattr(metadata, "width", None) is None:
            raise DataError("FiftyOne's boxes are fractions of a picture of unknown size: pass size=(height, width).")
        size = (metadata.height, metadata.width)
    wanted = {name.lower() for name in classes}
    listed = [
        one for one in (held.detections if held is not None else []) if not wanted or str(one.label).lower() in wanted
    ]
    relative = np.array([one.bounding_box for one in listed], dtype=np.float64).reshape(-1, 4)
    relative[:, 2:] += relative[:, :2]
    scores = [1.0 if getattr(one, "confidence", None) is None else one.confidence for one in listed]
    height, width = size
    return Detections(
        (relative * [width, height, width, height]).astype(np.float32), np.array(scores, dtype=np.float32)
    )


def from_fiftyone_video(sample: Any, *, field: str = "detections", classes: Iterable[str] = ()) -> KnownDetections:
    """The detections of a FiftyOne sample of a video, by frame; FiftyOne counts frames from 1, we from 0.

    Raises:
        DataError: its metadata lack the size, which `compute_metadata()` of the data set adds, or there is no such
            field.
    """
    metadata = sample.metadata
    height = getattr(metadata, "frame_height", None)
    if height is None:
        raise DataError("the sample's metadata have no frame_height: call compute_metadata() of its data set first.")
    size = (int(height), int(metadata.frame_width))
    return KnownDetections(
        {
            int(number) - 1: from_fiftyone(_field(frame, field), size, classes=classes)
            for number, frame in sample.frames.items()
            if _field(frame, field) is not None
        }
    )


def _field(found: Any, name: str) -> Any:
    try:
        return found[name]
    except (KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"FiftyOne's {type(found).__name__} has no field {name!r}. Name the field of its detections."
        ) from error
