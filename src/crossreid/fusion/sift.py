"""Local features that need no weights: SIFT keypoints by OpenCV, described as RootSIFT.

Points are matched both ways, kept where the nearest is clearly nearer than the second (Lowe, IJCV 2004), and verified by
one rotation, scale and shift of the plane that RANSAC finds. RootSIFT is of Arandjelovic and Zisserman, CVPR 2012. The
score is the number of inliers, each weighted by the similarity of its two descriptors, in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from crossreid.extras import needed
from crossreid.fusion.local_matching import Described, register_matcher
from crossreid.options import Options

_FEWEST = 4  # matches that are verified; two fix the transformation, and agree with it always


class SiftOptions(Options):
    size: int = Field(256, ge=32, le=4096, description="Pixels of the longer side that images are scaled to.")
    keypoints: int = Field(256, ge=8, le=20000, description="Most keypoints per image, strongest first.")
    ratio: float = Field(0.9, gt=0, le=1, description="Largest ratio of the nearest distance to the second nearest.")
    tolerance: float = Field(
        0.03, gt=0, le=1, description="Largest error of an inlier, relative to an image's longer side."
    )


@register_matcher("sift")
class SiftMatcher:
    """RootSIFT, matched both ways and verified by RANSAC."""

    def __init__(self, **options: Any) -> None:
        self.options = SiftOptions.model_validate(options)
        self._cv2 = needed("cv2", "local matching by SIFT")
        self.settings = f"sift, OpenCV {self._cv2.__version__}, {self.options.size}, {self.options.keypoints}"

    def describe(self, image: np.ndarray) -> Described:
        """points `(K, 2)` float32, in pixels of the scaled image, and descriptors `(K, 128)` float32 of length 1."""
        cv2 = self._cv2
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        scale = self.options.size / max(grey.shape)
        height, width = (max(1, round(side * scale)) for side in grey.shape)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        points, found = cv2.SIFT_create(self.options.keypoints).detectAndCompute(grey, None)
        if found is None:
            return {"points": np.zeros((0, 2), np.float32), "descriptors": np.zeros((0, 128), np.float32)}
        descriptors = np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-9))
        return {
            "points": np.array([point.pt for point in points], dtype=np.float32),
            "descriptors": descriptors.astype(np.float32),
        }

    def compare(self, first: Described, second: Described) -> float:
        if min(len(first["points"]), len(second["points"])) < _FEWEST:
            return 0.0
        similarity = first["descriptors"] @ second["descriptors"].T
        rows = np.arange(len(similarity))
        nearest = similarity.argmax(axis=1)
        best = similarity[rows, nearest]
        both_ways = similarity.argmax(axis=0)[nearest] == rows
        similarity[rows, nearest] = -np.inf
        # Of unit vectors the squared distance is 2 - 2 times the similarity.
        clear = 1 - best < self.options.ratio**2 * (1 - similarity.max(axis=1))
        kept = rows[clear & both_ways]
        if len(kept) < _FEWEST:
            return 0.0
        _, inliers = self._cv2.estimateAffinePartial2D(
            first["points"][kept],
            second["points"][nearest[kept]],
            method=self._cv2.RANSAC,
            ransacReprojThreshold=self.options.tolerance * self.options.size,
        )
        return 0.0 if inliers is None else float(best[kept][inliers.ravel() > 0].sum())

    def match(self, first: np.ndarray, second: np.ndarray) -> float:
        return self.compare(self.describe(first), self.describe(second))
