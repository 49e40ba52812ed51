"""The detector `onnx`: any network in an ONNX file that outputs boxes and scores.

Its signature:

* one input, `(1, 3, H, W)` float32, RGB from 0 to 1. If H and W are fixed, a frame is resized to fit, keeping its
  aspect ratio, at the top left; the rest is grey. If they are free, it is passed as is.
* an output `boxes` `(N, 4)`: left, top, right, bottom in pixels of the input.
* an output `scores`, `(N,)` from 0 to 1, or `(N, C)`, a score for each class.
* an output `labels` `(N,)`, class numbers, if there are classes.

All outputs may have a leading dimension of 1.

The file's metadata may override this: `scale` (255 for pixels from 0 to 255), `mean` and `std` (three comma-separated
numbers, subtracted and divided by after scaling), `channels` (`bgr`), `names` (of classes, `{0: 'person'}`) and `nms`
(the overlap from which only the better of two boxes is kept, for networks without their own non-maximum suppression).
"""

from __future__ import annotations

import ast
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.watching.cameras import Camera
from crossreid.watching.detections import Detections
from crossreid.watching.detectors.detector_registry import DetectorSettings, register_detector, wanted_numbers
from crossreid.watching.frames import Frame

GREY = 114 / 255


@register_detector("onnx", takes=("weights", "classes"), minimum_score=0.1)
class OnnxDetector:
    """A detector run by ONNX Runtime; cameras with the same file share it.

    Raises:
        CrossreidError: no file, one that cannot be opened or has another signature, or an unknown class.
    """

    def __init__(self, settings: DetectorSettings, camera: Camera) -> None:
        if settings.weights is None:
            raise CrossreidError("detector 'onnx' needs a network: give --weights FILE.onnx, or name the file instead.")
        self.path = settings.weights
        self.session = _session(settings.weights, settings.device)
        self.facts = _Facts(self.session, settings.weights)
        if settings.classes and not self.facts.labelled:
            raise CrossreidError(f"detector {self.path} has no classes: --class {settings.classes[0]} has no use.")
        self.numbers = wanted_numbers(settings.classes, self.facts.names, ("person",), f"detector {settings.weights}")
        self.minimum_score = settings.minimum_score

    def detect(self, frame: Frame) -> Detections:
        given, scale = self.facts.prepared(frame.image)
        try:
            values = self.session.run(self.facts.outputs, {self.facts.input: given})
        except Exception as error:  # ONNX Runtime's errors share no other base class
            from crossreid.inference.engines.onnx_session import first_line

            raise DataError(f"detector {self.path} cannot compute on {given.shape} ({first_line(error)}).") from error
        told = dict(zip(self.facts.outputs, values, strict=True))
        boxes, scores, labels = self._of_one_picture(told)
        boxes = boxes / scale
        best = scores.max(1) if len(boxes) else np.zeros(0, np.float32)
        if len(best) and not (np.isfinite(best).all() and best.min() >= 0 and best.max() <= 1):
            raise DataError(
                f"detector {self.path}: expected scores from 0 to 1, found {best.min():g} to {best.max():g}."
            )
        keep = (best >= self.minimum_score) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if self.numbers is not None and labels is not None:
            keep &= np.isin(labels, list(self.numbers))
        boxes, best = boxes[keep], best[keep]
        if self.facts.nms is not None and len(boxes):
            chosen = _best_of(boxes, best, self.facts.nms)
            boxes, best = boxes[chosen], best[chosen]
        return Detections(boxes, best)

    def _of_one_picture(self, told: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Boxes `(N, 4)`, scores `(N, C)` and labels `(N,)`, without the dimension of a batch of one."""
        batched = np.ndim(told["boxes"]) == 3
        boxes, scores, *others = (np.asarray(value[0] if batched else value) for value in told.values())
        count = len(boxes)
        if (
            boxes.shape != (count, 4)
            or scores.shape[:1] != (count,)
            or any(other.shape != (count,) for other in others)
        ):
            shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in told.items())
            raise DataError(f"detector {self.path}: expected boxes (N, 4) and a score for each, found {shapes}.")
        scores = scores.astype(np.float32).reshape(count, math.prod(scores.shape[1:]))
        labels = others[0] if others else scores.argmax(1) if scores.shape[1] > 1 else None
        return boxes.astype(np.float32), scores, labels


class _Facts:
    """A file's description of itself: names, shapes, and how pictures are prepared."""

    def __init__(self, session: Any, path: Path) -> None:
        inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        picture = len(shape) == 4 and inputs[0].type == "tensor(float)" and shape[1] == 3 and not _is_many(shape[0])
        if not picture or not {"boxes", "scores"} <= set(outputs):
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise DataError(
                f"detector {path}: expected one input, float (1, 3, H, W), and outputs boxes and scores (and labels); found "
                f"{found or 'none'} and {', '.join(outputs) or 'none'}. docs/video.md has the signature."
            )
        self.input, self.path = inputs[0].name, path
        self.outputs = [name for name in ("boxes", "scores", "labels") if name in outputs]
        fixed = all(isinstance(side, int) for side in shape[2:])
        self.size: tuple[int, int] | None = (shape[2], shape[3]) if fixed else None
        told = session.get_modelmeta().custom_metadata_map
        self.scale = self._number(told, "scale", 1.0)
        self.nms = self._number(told, "nms", None)
        self.mean, self.std = self._three(told, "mean", 0.0), self._three(told, "std", 1.0)
        self.bgr = str(told.get("channels", "rgb")).strip().lower() == "bgr"
        self.names = self._names(told)
        ranks = {output.name: len(output.shape or ()) for output in session.get_outputs()}
        self.labelled = "labels" in outputs or ranks["scores"] == ranks["boxes"]

    def prepared(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """A frame as network input, `(1, 3, H, W)`, and its scale factor there."""
        scale = 1.0
        pixels = image
        if self.size is not None:
            cv2 = needed("cv2", "fitting frames to a network")
            height, width = image.shape[:2]
            scale = min(self.size[0] / height, self.size[1] / width)
            fitted = (max(1, min(self.size[1], round(width * scale))), max(1, min(self.size[0], round(height * scale))))
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            pixels = cv2.resize(image, fitted, interpolation=how) if fitted != (width, height) else image
        values: np.ndarray = pixels.astype(np.float32) / 255
        if self.size is not None and values.shape[:2] != self.size:
            whole = np.full((*self.size, 3), GREY, dtype=np.float32)
            whole[: values.shape[0], : values.shape[1]] = values
            values = whole
        values = values[:, :, ::-1] if self.bgr else values
        values = (values * self.scale - self.mean) / self.std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32), scale

    def _number(self, told: dict[str, str], key: str, default: Any) -> Any:
        if key not in told:
            return default
        try:
            return float(told[key])
        except ValueError as error:
            raise DataError(
                f"detector {self.path}: its metadata {key!r} is {told[key]!r}, expected a number."
            ) from error

    def _three(self, told: dict[str, str], key: str, default: float) -> np.ndarray:
        try:
            values = [float(part) for part in told[key].strip("[]() ").split(",")] if key in told else [default] * 3
        except ValueError:
            values = []
        if len(values) != 3:
            raise DataError(f"detector {self.path}: its metadata {key!r} is {told[key]!r}, expected three numbers.")
        return np.array(values, dtype=np.float32)

    def _names(self, told: dict[str, str]) -> dict[int, str]:
        if "names" not in told:
            return {}
        try:
            names = ast.literal_eval(told["names"])
            return {int(k): str(v) for k, v in (names.items() if isinstance(names, dict) else enumerate(names))}
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise DataError(
                f"detector {self.path}: its metadata 'names' is {told['names'][:80]!r}, expected {{0: 'person'}}."
            ) from error


def _is_many(side: Any) -> bool:
    return isinstance(side, int) and side != 1


@lru_cache(4)
def _session(path: Path, device_name: str | None) -> Any:
    from crossreid.inference.devices import device_of
    from crossreid.inference.engines.onnx_session import session_of

    return session_of(
        str(path),
        path,
        device_of(device_name),
        lambda reason: DataError(f"detector {path} cannot be opened by ONNX Runtime ({reason})."),
    )


def _best_of(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """The indices of boxes that no better one overlaps by more than `overlap` (intersection over union)."""
    import torch
    from torchvision.ops import nms

    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()
