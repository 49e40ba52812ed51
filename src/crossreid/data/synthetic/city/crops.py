"""Images of people cut out of frames as a detector would, for training and for enrolling known people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crossreid.data.records import Modality
from crossreid.data.synthetic.city.places import CityCamera
from crossreid.data.synthetic.city.stage import Daylight, frame, in_view
from crossreid.data.synthetic.city.walking import Visit

# The most images per visit, and how much of a person must be visible.
A_VISIT, LEAST_SEEN = 4, 0.6


@dataclass(frozen=True, slots=True)
class Crop:
    """A row of a manifest; `path` is below the folder that the images were written to."""

    path: str
    identity: int
    camera: int
    modality: Modality
    tracklet: str


def write_crops(
    folder: Path, camera: CityCamera, visits: Sequence[Visit], light: Daylight, seed: int, size: tuple[int, int],
    most: int, modalities: Collection[Modality],
) -> list[Crop]:  # fmt: skip
    """Write JPEG files of each person by one camera, up to `most` per modality; `visits` are of the camera's site."""
    found: list[Crop] = []
    counts: Counter[tuple[int, Modality]] = Counter()
    for number, visit in enumerate(visits):
        draw = np.random.default_rng((seed, visit.identity, camera.number, number, 51))
        times = (
            visit.start + (visit.end - visit.start) * (np.arange(A_VISIT) + draw.uniform(0.2, 0.8, A_VISIT)) / A_VISIT
        )
        for position, time in enumerate(times):
            kind = light.modality(camera, time)
            if kind not in modalities or counts[visit.identity, kind] >= most or not in_view(camera, visit, time, size):
                continue
            image, shown = frame(camera, visits, float(time), light, seed, size, draw)
            one = next((one for one in shown if one.identity == visit.identity), None)
            if one is None or one.visibility < LEAST_SEEN:
                continue
            path = f"{visit.identity:04d}/c{camera.number}t{number + 1:03d}_{position + 1}.jpg"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_cut(image, one.box, draw)).save(folder / path, quality=90)
            counts[visit.identity, kind] += 1
            found.append(Crop(path, visit.identity, camera.number, kind, f"c{camera.number}t{number + 1:03d}"))
    return found


def _cut(image: np.ndarray, box: tuple[int, int, int, int], draw: np.random.Generator) -> np.ndarray:
    """Cut out the box, with each edge off by up to a few hundredths of its size, like a detector's."""
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    x0, x1 = np.round((left, right) + draw.uniform(-0.05, 0.05, 2) * wide).astype(int)
    y0, y1 = np.round((top, bottom) + draw.uniform(-0.05, 0.05, 2) * tall).astype(int)
    return image[max(y0, 0) : max(y1, y0 + 2), max(x0, 0) : max(x1, x0 + 2)]
