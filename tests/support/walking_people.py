"""Films of rendered people who walk before one camera, meet and hide each other, with the truth; and a model that sees colours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from crossreid.data.records import Modality
from crossreid.data.synthetic.canvas import View
from crossreid.data.synthetic.people import person
from crossreid.data.synthetic.people_body import draw_body
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.runs.preprocessing import Preprocessing
from crossreid.watching.detections import Detections
from crossreid.watching.frames import Frame

HEIGHT, WIDTH, RATE = 120, 240, 10.0
PILLAR = (105, 135)  # left and right, where a film has one


@dataclass(frozen=True)
class Walker:
    """Who walks: `place(time)` is (x of the middle, y of the feet, height) in pixels, or None while out of sight."""

    identity: int
    place: Callable[[float], tuple[float, float, float] | None]
    heading: float = 90.0


@dataclass(frozen=True)
class Shown:
    """A walker in a frame: the box `(4,)`, and how much of it is seen."""

    identity: int
    box: np.ndarray
    visible: float


def along(start, end, seconds, *, feet=100.0, height=60.0, begins=0.0):
    """A straight way at one pace, from x to x."""

    def place(time):
        share = (time - begins) / seconds
        return (start + (end - start) * share, feet, height) if 0 <= share <= 1 else None

    return place


def turning(start, way, feet=102):
    """Walks 50 pixels, turns round where somebody else does, and goes back."""
    return lambda time: (start + way * (20 * time if time < 2.5 else 100 - 20 * time), feet + way, 60)


def film(walkers, seconds, *, pillar=False, camera="gate", rate=RATE, modality=Modality.VISIBLE, seed=1):
    """The frames, and of each who is shown."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    people = {walker.identity: person(7, walker.identity) for walker in walkers}
    frames, truth = [], []
    for index in range(round(seconds * rate)):
        time = index / rate
        there = [(walker, walker.place(time)) for walker in walkers]
        there = sorted(((w, place) for w, place in there if place), key=lambda one: one[1][1])
        image = ground.resize((2 * WIDTH, 2 * HEIGHT))
        for walker, (x, feet, height) in there:
            who = people[walker.identity]
            view = View(math.radians(walker.heading), 2 * x, 2 * feet, 2 * height)
            if modality == Modality.VISIBLE:
                draw_body(image, who.shared, view, 6 * time, 0.6, lambda part, who=who: getattr(who.visible, part))
            else:
                draw_body(image, who.shared, view, 6 * time, 0.6, lambda part, who=who: _grey(who, part))
        if pillar:
            ImageDraw.Draw(image).rectangle((2 * PILLAR[0], 0, 2 * PILLAR[1], 2 * HEIGHT), fill=(70, 66, 62))
        frames.append(Frame(camera, index, time, np.asarray(image.reduce(2)).copy(), modality))
        truth.append(_shown(there, pillar))
    return frames, truth


def _grey(who, part):
    return (int(255 * (0.8 if part == "skin" else getattr(who.infrared, part))),) * 3


def _shown(there, pillar):
    boxes = [(walker.identity, _box(*place)) for walker, place in there]
    shown = []
    for position, (identity, box) in enumerate(boxes):
        before = [other for _, other in boxes[position + 1 :]]
        if pillar:
            before.append(np.array([PILLAR[0], 0, PILLAR[1], HEIGHT], dtype=np.float32))
        free = np.ones(40)
        columns = np.linspace(box[0], box[2], 40)
        for other in before:
            free[(columns >= other[0]) & (columns <= other[2])] = 0
        shown.append(Shown(identity, box, float(free.mean())))
    return shown


def _box(x, feet, height):
    return np.array([x - 0.17 * height, feet - height, x + 0.17 * height, feet + 1], dtype=np.float32)


def detections_of(shown, *, least=0.5):
    """What a good detector finds: who is seen by half or more."""
    seen = [one for one in shown if one.visible >= least and one.box[0] > 0 and one.box[2] < WIDTH]
    boxes = np.array([one.box for one in seen], dtype=np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(seen), 0.9, dtype=np.float32))


class ColourModel(EmbeddingModel):
    """A network without weights: colours of ten bands from head to feet. It can tell most rendered people apart, and is quick."""

    def __init__(self):
        self.source, self.method = Path("colours"), "colours"
        self.preprocessing = Preprocessing(60, 24, mean=(0.45, 0.45, 0.45), std=(0.25, 0.25, 0.25))
        self.dimension, self.fingerprint, self.flip, self.runtime = 30, "c010" * 16, False, "torch"
        self.precision, self.device, self.passes = "float32", torch.device("cpu"), []

    def features(self, images, modalities):
        self.passes.append(len(images))
        return images[:, :, :, 6:18].reshape(len(images), 3, 10, -1).mean(3).flatten(1)

    def embed(self, images, modalities):
        return torch.nn.functional.normalize(self.features(images, modalities), dim=1)
