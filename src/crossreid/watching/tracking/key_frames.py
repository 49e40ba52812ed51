"""The few images that represent a track: sharp, large, complete, unoccluded, spread over time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed
from crossreid.watching.frames import Frame
from crossreid.watching.tracklets import KeyFrame

# Crops are resized to this height and width before their sharpness is measured, which would otherwise depend on size.
_MEASURED = (128, 64)
# The variance of the Laplacian, for grey levels from 0 to 255, at which a crop counts as half sharp.
_HALF_SHARP = 150.0
_FULL_HEIGHT = 160.0  # pixels; taller crops are no better
_BORDER = 2.0  # pixels
_CUT_OFF = 0.3  # quality factor of a crop that is cut off by the frame's border
_FIRST_SLOT = 0.25  # seconds


@dataclass(eq=False, slots=True)
class Candidate:
    """A candidate image to represent a track.

    It has a `crop` until it is embedded; then a `feature` `(D,)` float32, and a `jpeg`, which replaces the crop and is
    empty if no images are kept.
    """

    index: int
    time: float
    box: np.ndarray
    quality: float
    modality: Modality
    crop: np.ndarray | None
    feature: np.ndarray | None = None
    jpeg: bytes = b""

    def embedded(self, feature: np.ndarray, *, keep_image: bool) -> None:
        """Store the feature and drop the pixels: a day's worth would not fit into memory."""
        cv2 = needed("cv2", "watching")
        if keep_image and self.crop is not None:
            self.jpeg = cv2.imencode(".jpg", self.crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        self.feature, self.crop = feature, None

    def key_frame(self) -> KeyFrame:
        """The image as passed on; its crop is `(0, 0, 3)` if no images are kept."""
        kept = self.jpeg or np.zeros((0, 0, 3), dtype=np.uint8)
        return KeyFrame(self.index, self.time, self.box, kept if self.crop is None else self.crop, self.quality)


class KeyFrames:
    """The best image of each time slot of a track, at most `limit`: slots double in length when there are too many.

    When a track meets another, `part` keeps later images separate from the earlier ones, so that both can be compared;
    `join` ends that. Until then there are at most twice as many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.before: list[Candidate] = []
        self._slots: dict[int, Candidate] = {}
        self._width = _FIRST_SLOT
        self._start: float | None = None

    @property
    def after(self) -> list[Candidate]:
        """The images since the last `part`, in order of time."""
        return [self._slots[slot] for slot in sorted(self._slots)]

    @property
    def all(self) -> list[Candidate]:
        return self.before + self.after

    def least_quality(self, time: float) -> float:
        """The quality that an image at this time must exceed to be kept, so that others need not be copied."""
        held = self._slots.get(self._slot(time))
        return -1.0 if held is None else held.quality

    def offer(self, candidate: Candidate) -> None:
        """Keep the image if it is the best of its slot."""
        if self._start is None:
            self._start = candidate.time
        slot = self._slot(candidate.time)
        held = self._slots.get(slot)
        if held is None or candidate.quality > held.quality:
            self._slots[slot] = candidate
        while len(self._slots) > self.limit:
            self._double()

    def part(self) -> None:
        """Keep images from now on separate from the earlier ones."""
        self.join()
        self.before, self._slots, self._width, self._start = self.all, {}, _FIRST_SLOT, None

    def join(self) -> None:
        """Merge the images before and after `part` again."""
        if self.before:
            self.replace(self.all)

    def replace(self, candidates: Iterable[Candidate]) -> None:
        """Keep only these, as many as there is room for."""
        every = sorted(candidates, key=lambda candidate: candidate.index)
        self.before, self._slots, self._width, self._start = [], {}, _FIRST_SLOT, None
        for candidate in every:
            self.offer(candidate)

    def _slot(self, time: float) -> int:
        return 0 if self._start is None else int((time - self._start) / self._width)

    def _double(self) -> None:
        self._width *= 2
        every, self._slots = self.after, {}
        for candidate in every:
            slot = self._slot(candidate.time)
            held = self._slots.get(slot)
            if held is None or candidate.quality > held.quality:
                self._slots[slot] = candidate


def embedding_of(candidates: Sequence[Candidate]) -> np.ndarray:
    """The embedding of a set of images, `(D,)` float32 of length 1: their mean, as in `EmbeddingModel.embed_sets`."""
    features = np.stack([candidate.feature for candidate in candidates if candidate.feature is not None])
    mean = features.mean(axis=0, dtype=np.float32)
    unit: np.ndarray = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit


def within(box: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels of a box clipped to the image; it may be empty."""
    height, width = image.shape[:2]
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    return left, top, min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))


def candidate_of(frame: Frame, box: np.ndarray, covered: float = 0.0, least: float = -1.0) -> Candidate | None:
    """The image of a box if its quality exceeds `least`, else None; also None for a box with a side below 2 pixels.

    Quality, in [0, 1], is sharpness times size times a factor for being cut off by the border and one for the fraction
    `covered` by another box (`hidden`). The crop ends at the frame's border; there is no padding.
    """
    left, top, right, bottom = within(box, frame.image)
    if right - left < 2 or bottom - top < 2:
        return None
    worth = min(1.0, (bottom - top) / _FULL_HEIGHT) * _whole(box, frame.image) * (1 - covered) ** 2
    if worth <= least:
        return None
    crop = frame.image[top:bottom, left:right]
    quality = worth * sharpness(crop)
    if quality <= least:
        return None
    return Candidate(
        frame.index,
        frame.time,
        np.asarray(box, dtype=np.float32),
        quality,
        frame.modality,
        np.ascontiguousarray(crop).copy(),
    )


def sharpness(crop: np.ndarray) -> float:
    """Sharpness in [0, 1), from the variance of the Laplacian of a crop `(h, w, 3)` resized to 128 by 64 pixels."""
    cv2 = needed("cv2", "watching")
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, _MEASURED[::-1], interpolation=cv2.INTER_AREA)
    variance = float(cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))[1][0, 0]) ** 2
    return variance / (variance + _HALF_SHARP)


def areas_in_common(boxes: np.ndarray) -> np.ndarray:
    """The shared area `(n, n)` of each pair of boxes `(n, 4)`, in square pixels."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def hidden(boxes: np.ndarray, common: np.ndarray) -> np.ndarray:
    """The largest fraction `(n,)` of each box `(n, 4)` covered by any other; `common`: their `areas_in_common`."""
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-9)
    return np.where(np.eye(len(boxes), dtype=bool), 0, common).max(axis=1, initial=0) / areas


def _whole(box: np.ndarray, image: np.ndarray) -> float:
    height, width = image.shape[:2]
    cut = box[0] < _BORDER or box[1] < _BORDER or box[2] > width - _BORDER or box[3] > height - _BORDER
    return _CUT_OFF if cut else 1.0
