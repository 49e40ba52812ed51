"""The ground truth of a video and what a detector might find in it, both as rows of MOT Challenge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from crossreid.data.synthetic.city.stage import Shown

# People less visible than this are not in the ground truth: no detector is expected to find an elbow.
LEAST_SEEN = 0.25
# For a detector: the share of fully visible people that it misses, false boxes per frame, and its boxes' errors.
_MISSES, _FALSE, _JITTER = 0.03, 0.02, 0.03


def truth_rows(number: int, shown: Sequence[Shown]) -> list[str]:
    """Return `frame, identity, left, top, width, height, 1, 1, visibility` for frame `number`, from 1."""
    return [
        f"{number},{one.identity},{_box(one.box)},1,1,{one.visibility:.3f}"
        for one in shown
        if one.visibility >= LEAST_SEEN
    ]


def detection_rows(number: int, shown: Sequence[Shown], size: tuple[int, int], draw: np.random.Generator) -> list[str]:
    """Return `frame, -1, left, top, width, height, score, -1, -1, -1`: boxes that are somewhat off, with some missing
    and some false. The less of a person is visible, the more often they are missed, and the lower is the score."""
    found = []
    for one in shown:
        if one.visibility < LEAST_SEEN or draw.random() < _MISSES + 0.6 * (1 - one.visibility) ** 2:
            continue
        score = np.clip(0.35 + 0.6 * one.visibility - abs(draw.normal(0, 0.08)), 0.05, 0.99)
        found.append((_jittered(one.box, size, draw), score))
    for _ in range(int(draw.poisson(_FALSE))):
        tall = draw.uniform(0.2, 0.5) * size[0]
        left, top = draw.uniform(0, size[1] - tall / 2), draw.uniform(0, size[0] - tall)
        found.append(((left, top, left + tall / 2.4, top + tall), draw.uniform(0.1, 0.55)))
    return [f"{number},-1,{_box(box)},{score:.3f},-1,-1,-1" for box, score in found]


def _jittered(box: Sequence[float], size: tuple[int, int], draw: np.random.Generator) -> tuple[float, ...]:
    left, top, right, bottom = box
    off = draw.normal(0, _JITTER, 4) * (right - left, bottom - top, right - left, bottom - top)
    moved = np.array(box) + off
    x = np.clip(moved[[0, 2]], 0, size[1])
    y = np.clip(moved[[1, 3]], 0, size[0])
    if x[1] - x[0] < 2 or y[1] - y[0] < 2:
        return tuple(float(edge) for edge in box)
    return float(x[0]), float(y[0]), float(x[1]), float(y[1])


def _box(box: Iterable[float]) -> str:
    left, top, right, bottom = box
    return f"{left:.1f},{top:.1f},{right - left:.1f},{bottom - top:.1f}"
