"""The detector `background`: whatever moves in front of a static background, by OpenCV's mixture of Gaussians (MOG2).

It needs no weights and is for fixed cameras. The colours of each pixel are modelled as a mixture of Gaussians
(Zivkovic, ICPR 2004; Zivkovic and van der Heijden, PRL 2006); pixels that fit none are foreground. Each picture is
first adjusted to the brightness of the background. Specks are removed by opening, gaps are closed, fragments of one
body are merged, and boxes that are too small are dropped. Shadows are not separated from what casts them. It finds
whatever moves, but not what stands still for long. While it is still learning, or after the whole picture has changed,
it finds nothing. A box's score is from 0.5 to 1, growing with its share of foreground.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossreid.extras import needed
from crossreid.watching.cameras import Camera
from crossreid.watching.detections import Detections
from crossreid.watching.detectors.detector_registry import DetectorSettings, register_detector
from crossreid.watching.detectors.known_detections import NONE
from crossreid.watching.frames import Frame

ROWS = 360  # of the analysed picture; larger frames are shrunk
HISTORY = 300  # frames that the background is learned over
PERIOD, OVERLAP = (
    1500,
    HISTORY,
)  # frames after which a background is replaced, and frames over which the new one is learned
SPECK = 9  # pixels of the smallest fragment
GRID = 4  # pixels between the samples of the brightness
MOST_GAIN = 3.0  # largest factor by which a picture is brightened or darkened
FAR = 16.0  # squared distance from a Gaussian, in variances, from which a pixel is foreground
WARM_UP = 2.0  # seconds during which nothing is found, and minimum number of frames:
WARM_UP_FRAMES = 12
CHANGED = 0.6  # share of foreground from which the whole picture counts as changed
SMALLEST = (1 / 15, 1 / 40)  # (height, width) of the smallest box, relative to the frame's height
APART = 1 / 9  # of the picture's height, between fragments of one body


@register_detector("background")
class Background:
    """Finds what moves in a camera's frames, which come in order.

    Its detections depend only on the last `remembers` frames of the source: every `PERIOD` frames, a background learned
    over the preceding `OVERLAP` frames replaces the one in use.

    Raises:
        CrossreidError: OpenCV is not installed.
    """

    def __init__(self, settings: DetectorSettings, camera: Camera) -> None:
        needed("cv2", "detector 'background'")
        self.minimum_size = settings.minimum_size
        self.remembers = PERIOD + OVERLAP
        self.period: int | None = None
        self.learned = _Learned()
        self.following: _Learned | None = None

    def detect(self, frame: Frame) -> Detections:
        period, within = divmod(frame.index, PERIOD)
        if period != self.period:
            self.learned, self.following = self.following or self.learned, None
            self.period = period
        if within >= PERIOD - OVERLAP:
            self.following = self.following or _Learned()
            self.following.foreground(frame)
        foreground = self.learned.foreground(frame)
        return NONE if foreground is None else _boxes(foreground, frame.image.shape[0], self.minimum_size)


class _Learned:
    """A background model, updated with each frame."""

    def __init__(self) -> None:
        self.cv2: Any = needed("cv2", "detector 'background'")
        self.seen: tuple[Any, ...] | None = None  # size and modality of the background
        self.begun: float | None = None  # time of its first frame
        self.reference: np.ndarray | None = None  # pixels of that frame on a grid
        self._restart()

    def foreground(self, frame: Frame) -> np.ndarray | None:
        """The foreground mask of the next frame, 0 and 255, at most `ROWS` rows; None if the background is unknown."""
        seen = (frame.image.shape, frame.modality)
        if seen != self.seen:
            self.seen = seen
            self._restart()
        if self.begun is None:
            self.begun = frame.time
        foreground = self._foreground(frame.image)
        self.frames += 1
        if self.frames <= WARM_UP_FRAMES or frame.time - self.begun < WARM_UP:
            return None
        if np.count_nonzero(foreground) > CHANGED * foreground.size:
            self._restart()
            return None
        return foreground

    def _restart(self) -> None:
        self.model = self.cv2.createBackgroundSubtractorMOG2(HISTORY, FAR, False)
        self.frames = 0
        self.begun = self.reference = None

    def _exposed(self, image: np.ndarray) -> np.ndarray:
        """A picture adjusted to the brightness of the first: dusk, clouds and auto-exposure are not motion."""
        grid = image[::GRID, ::GRID].astype(np.float32) + 1
        if self.reference is None:
            self.reference = grid
        gains = np.clip(np.median(self.reference / grid, axis=(0, 1)), 1 / MOST_GAIN, MOST_GAIN)
        table = np.clip(np.arange(256)[:, None] * gains, 0, 255).round().astype(np.uint8)
        return self.cv2.LUT(image, table[None])

    def _foreground(self, image: np.ndarray) -> np.ndarray:
        cv2 = self.cv2
        height, width = image.shape[:2]
        scale = min(1.0, ROWS / height)
        if scale < 1:
            image = cv2.resize(
                image, (max(1, round(width * scale)), round(height * scale)), interpolation=cv2.INTER_AREA
            )
        mask = self.model.apply(self._exposed(image))
        rows = mask.shape[0]
        speck = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        gap = max(3, round(rows / 60) | 1)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, speck)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, 2 * gap + 1)))
        return mask


def _boxes(foreground: np.ndarray, height: int, minimum_size: tuple[int, int] | None) -> Detections:
    """The bodies in a foreground mask, in pixels of the frame, which is `height` high."""
    cv2 = needed("cv2", "detector 'background'")
    _, _, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    left, top = stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[1:, cv2.CC_STAT_WIDTH], top + stats[1:, cv2.CC_STAT_HEIGHT]
    parts = np.stack([left, top, right, bottom, stats[1:, cv2.CC_STAT_AREA]], axis=1).astype(np.float64)
    bodies = merged(parts[parts[:, 4] >= SPECK], APART * len(foreground))
    if not len(bodies):
        return NONE
    boxes, areas = bodies[:, :4], bodies[:, 4]
    filled = areas / ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    boxes = boxes * (height / len(foreground))
    low, narrow = minimum_size or (SMALLEST[0] * height, SMALLEST[1] * height)
    keep = (boxes[:, 3] - boxes[:, 1] >= low) & (boxes[:, 2] - boxes[:, 0] >= narrow)
    return Detections(boxes[keep], (0.5 + 0.5 * np.clip(filled, 0, 1))[keep])


def merged(parts: np.ndarray, apart: float) -> np.ndarray:
    """Fragments `(N, 5)` of left, top, right, bottom and area, with those of one body merged, repeatedly.

    Two belong to one body if they lie above each other, the narrower one overlapping the wider one horizontally by more
    than half of its width, with a gap smaller than `apart` and than half of the taller one's height, or if they
    overlap.
    """
    parts = parts.copy()
    while len(parts) > 1:
        left, top, right, bottom = parts[:, :4].T
        shared = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
        gap = np.maximum(top[:, None], top) - np.minimum(bottom[:, None], bottom)
        narrower = np.minimum(right[:, None] - left[:, None], right - left)
        taller = np.maximum(bottom[:, None] - top[:, None], bottom - top)
        joined = ((shared > narrower / 2) & (gap < np.minimum(apart, taller / 2))) | ((shared > 0) & (gap < 0))
        np.fill_diagonal(joined, False)
        if not joined.any():
            break
        one, other = np.argwhere(joined)[0]
        both = parts[[one, other]]
        body = [*both[:, :2].min(0), *both[:, 2:4].max(0), both[:, 4].sum()]
        parts = np.vstack([np.delete(parts, [one, other], axis=0), body])
    return parts
