"""Tracklets as a scripted day would bring them: people with embeddings of their own who walk between cameras."""

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, Curve
from crossreid.watching.tracklets import KeyFrame, Tracklet

DIMENSION = 32
NAMES = ("visible", "infrared")


def calibration():
    """Probabilities of cosines that rise from 0 to 1, steepest at 0.5."""
    scores = np.linspace(-1, 1, 41)
    curve = Curve(scores, 1 / (1 + np.exp(-20 * (scores - 0.5))))
    return Calibration({f"{one}-{other}": curve for one in NAMES for other in NAMES}, {})


def unit(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def person(number, dimension=DIMENSION):
    return unit(np.random.default_rng(1000 + number).standard_normal(dimension))


def looks(number, noise=0.2, seed=0, dimension=DIMENSION):
    """A person's embedding with noise: `noise` is its length beside the person's own."""
    drawn = np.random.default_rng((number, seed)).standard_normal(dimension)
    return unit(person(number, dimension) + noise * drawn / np.linalg.norm(drawn))


def tracklet(camera, track, start, end, embedding, *, finished=True, modality=Modality.VISIBLE, images=False, rate=2.0):
    """A track with `rate` boxes a second that walks to the right."""
    indexes = np.arange(round(start * rate), round(end * rate) + 1)
    times = indexes / rate
    times[0], times[-1] = start, end
    left = 10.0 + indexes
    boxes = np.stack([left, np.full(len(left), 5.0), left + 8, np.full(len(left), 25.0)], 1).astype(np.float32)
    keys = ()
    if images:
        shade = np.full((20, 8, 3), track * 7 % 256, np.uint8)
        keys = tuple(
            KeyFrame(int(indexes[row]), float(times[row]), boxes[row], shade, 1.0 - 0.1 * row)
            for row in {0, len(indexes) - 1}
        )
    return Tracklet(camera, track, modality, indexes, times, boxes, keys, np.asarray(embedding, np.float32), finished)
