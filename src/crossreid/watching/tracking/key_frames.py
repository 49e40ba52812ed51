"""The few images that stand for a track: sharp, large, whole and unhidden ones, spread over its time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed
from crossreid.watching.frames import Frame
from crossreid.watching.tracklets import KeyFrame

# Crops are brought to one size before their sharpness is measured: it would depend on size otherwise. Height, width.
_MEASURED = (128, 64)
# The variance of the Laplacian, of grey levels 0 to 255, at which a crop counts as half sharp.
_HALF_SHARP = 150.0
_FULL_HEIGHT = 160.0  # pixels, from which on a larger crop is no better
_BORDER = 2.0  # pixels
_CUT_OFF = 0.3  # what a crop that the frame's border cuts off is worth
_FIRST_SLOT = 0.25  # seconds


@dataclass(eq=False, slots=True)
class Candidate:
    """An image that may stand for a track.

    `crop` until it is embedded; then `feature` `(D,)` float32, and `jpeg`, which is what is left of the crop, empty where no
    images are kept.
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
        """Note the feature and let go of the pixels: of a day's tracks they would not fit into memory."""
        cv2 = needed("cv2", "watching")
        if keep_image and self.crop is not None:
            self.jpeg = cv2.imencode(".jpg", self.crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        self.feature, self.crop = feature, None

    def key_frame(self) -> KeyFrame:
        """As it is handed on; its crop is `(0, 0, 3)` where no images are kept."""
        kept = self.jpeg or np.zeros((0, 0, 3), dtype=np.uint8)
        return KeyFrame(self.index, self.time, self.box, kept if self.crop is None else self.crop, self.quality)


class KeyFrames:
    """The best image of each slot of a track's time, at most `limit` of them: slots double when they are too many.

    Where a track meets another one, `part` keeps what there is apart from what follows, so that both can be compared; `join`
    ends that. Until then there are at most twice as many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.before: list[Candidate] = []
        self._slots: dict[int, Candidate] = {}
        self._width = _FIRST_SLOT
        self._start: float | None = None

    @property
    def after(self) -> list[Candidate]:
        """Since the last `part`, in order of time."""
        return [self._slots[slot] for slot in sorted(self._slots)]

    @property
    def all(self) -> list[Candidate]:
        return self.before + self.after

    def least_quality(self, time: float) -> float:
        """What an image of that time must exceed to be kept, so that others need not be copied."""
        held = self._slots.get(self._slot(time))
        return -1.0 if held is None else held.quality

    def offer(self, candidate: Candidate) -> None:
        """Keep it if it is the best of its slot."""
        if self._start is None:
            self._start = candidate.time
        slot = self._slot(candidate.time)
        held = self._slots.get(slot)
        if held is None or candidate.quality > held.quality:
            self._slots[slot] = candidate
        while len(self._slots) > self.limit:
            self._double()

    def part(self) -> None:
        """From here on images are kept apart from those before."""
        self.join()
        self.before, self._slots, self._width, self._start = self.all, {}, _FIRST_SLOT, None

    def join(self) -> None:
        """Those before and after `part` are one again."""
        if self.before:
            self.replace(self.all)

    def replace(self, candidates: Iterable[Candidate]) -> None:
        """Keep these, as many as there is room for, and nothing else."""
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
    """Of images as a set, `(D,)` float32 of length 1: the mean of their features, as `EmbeddingModel.embed_sets` has it."""
    features = np.stack([candidate.feature for candidate in candidates if candidate.feature is not None])
    mean = features.mean(axis=0, dtype=np.float32)
    unit: np.ndarray = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return unit


def within(box: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels of the part of a box that is in the image; it may be empty."""
    height, width = image.shape[:2]
    left, top = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    return left, top, min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))


def candidate_of(frame: Frame, box: np.ndarray, covered: float = 0.0, least: float = -1.0) -> Candidate | None:
    """The image of a box, where its quality exceeds `least`; None too for a box of less than 2 pixels on a side.

    Quality, in [0, 1], is sharpness times size times a factor for being cut off by the border and one for the share that is
    `covered` by another box (`hidden`). The crop ends at the frame's border; nothing is added beyond it.
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
    """In [0, 1): the variance of the Laplacian of a crop `(h, w, 3)` brought to 128 by 64 pixels, against a fixed one."""
    cv2 = needed("cv2", "watching")
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, _MEASURED[::-1], interpolation=cv2.INTER_AREA)
    variance = float(cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))[1][0, 0]) ** 2
    return variance / (variance + _HALF_SHARP)


def areas_in_common(boxes: np.ndarray) -> np.ndarray:
    """The area `(n, n)` that each two of boxes `(n, 4)` share, in square pixels."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def hidden(boxes: np.ndarray, common: np.ndarray) -> np.ndarray:
    """The largest share `(n,)` of each of boxes `(n, 4)` that one of the others covers; `common`: their `areas_in_common`."""
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-9)
    return np.where(np.eye(len(boxes), dtype=bool), 0, common).max(axis=1, initial=0) / areas


def _whole(box: np.ndarray, image: np.ndarray) -> float:
    height, width = image.shape[:2]
    cut = box[0] < _BORDER or box[1] < _BORDER or box[2] > width - _BORDER or box[3] > height - _BORDER
    return _CUT_OFF if cut else 1.0
