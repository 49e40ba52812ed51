"""Random days of a few people who walk between cameras: observations in the order in which a watch would make them."""

import numpy as np

from crossreid.data.records import Modality
from scripted_tracklets import looks, tracklet


def observations(seed, people=5, cameras=("a", "b", "c"), visits=5, noise=(0.3, 1.6), images=False):
    """[(time, tracklet)] in order: several versions of each track, the embedding better from one to the next; now and then a track is
    broken in two, and a person is in the view of two cameras within seconds."""
    rng = np.random.default_rng(seed)
    drawn, numbers = [], dict.fromkeys(cameras, 0)
    for who in range(people):
        time = float(rng.uniform(0, 30))
        for _ in range(visits):
            camera = cameras[rng.integers(len(cameras))]
            length = float(rng.uniform(1, 20))
            pieces = [(time, time + length)]
            if rng.random() < 0.3:
                pieces = [(time, time + 0.45 * length), (time + 0.5 * length, time + length)]
            for start, end in pieces:
                drawn.append((start, end, camera, who, float(rng.uniform(*noise)), int(rng.integers(2))))
            time += length + float(rng.choice([-2.0, 1.0, 8.0, 40.0]) + rng.uniform(0, 4))
    made = []
    for start, end, camera, who, roughness, light in sorted(drawn):
        numbers[camera] += 1
        ends = np.unique(np.clip(np.array([start + 1, start + 4, start + 9, end]), start + 0.5, max(end, start + 0.5)))
        for step, until in enumerate(ends):
            embedding = looks(who, roughness / (1 + step), seed=numbers[camera])
            made.append((float(until), tracklet(
                camera, numbers[camera], start, float(until), embedding, finished=step == len(ends) - 1, modality=Modality(light),
                images=images,
            )))  # fmt: skip
    return sorted(made, key=lambda one: (one[0], one[1].camera, one[1].track))
