"""What one camera sees at one moment: people in front of its backdrop, occlusions, and the light of the hour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from crossreid.data.records import Modality
from crossreid.data.synthetic.city.backdrops import backdrop, column, pixels_a_metre, props, row
from crossreid.data.synthetic.city.places import CityCamera
from crossreid.data.synthetic.city.sprites import BODY, CANVAS, FEET, Pose, pose, sprite
from crossreid.data.synthetic.city.walking import STRIDE, Visit
from crossreid.data.synthetic.scenes import lamp, noise_bank

# How much brighter things are under an infrared lamp than their reflectance.
_LAMP = 1.15
# Height of a body of stature 1, in metres. People nearer than this are not seen: they pass below the lens.
TALL, NEAREST = 1.86, 2.2


@dataclass(frozen=True, slots=True)
class Daylight:
    """When it is dark, in seconds, and how long dusk takes before; outdoors, cameras then switch to infrared."""

    dusk: float
    falling: float

    def modality(self, camera: CityCamera, time: float) -> Modality:
        return camera.by_night if time >= self.dusk else camera.by_day

    def gain(self, camera: CityCamera, time: float) -> float:
        """Return 1 by day; at dusk less than half of it is left outdoors. An infrared lamp gives its own light."""
        if self.modality(camera, time) == Modality.INFRARED:
            return _LAMP * camera.light
        if not camera.outdoors:
            return camera.light
        fallen = min(1.0, max(0.0, (time - self.dusk + self.falling) / self.falling))
        return camera.light * (1 - 0.55 * fallen)


@dataclass(frozen=True, slots=True)
class Shown:
    """A person in a frame: the box of the body within the frame, left, top, right, bottom in pixels, and the visible
    share of the body: not outside the frame, and not occluded."""

    identity: int
    box: tuple[int, int, int, int]
    visibility: float


@dataclass(frozen=True, eq=False, slots=True)
class _Figure:
    identity: int
    posed: Pose
    x: float
    y: float
    scale: float
    away: float


def frame(
    camera: CityCamera, visits: Sequence[Visit], time: float, light: Daylight, seed: int, size: tuple[int, int],
    draw: np.random.Generator,
) -> tuple[np.ndarray, list[Shown]]:  # fmt: skip
    """Return `(height, width, 3)` uint8 RGB, and who is seen, in the order of `visits`, those of the camera's site."""
    infrared = light.modality(camera, time) == Modality.INFRARED
    canvas = backdrop(camera, infrared, size).copy()
    owner = np.zeros(size, dtype=np.int16)
    figures = [figure for visit in visits if (figure := _figure(camera, visit, time, size)) is not None]
    layers: list[tuple[float, int]] = [(figure.away, position) for position, figure in enumerate(figures)]
    furniture = props(camera, infrared, size)
    layers += [(prop.away, -1 - position) for position, prop in enumerate(furniture)]
    drawn: dict[int, tuple[tuple[int, int, int, int], int]] = {}
    for _, layer in sorted(layers, key=lambda each: -each[0]):
        if layer < 0:
            prop = furniture[-1 - layer]
            _paste(canvas, owner, prop.image, prop.left, prop.top, 0)
            continue
        figure = figures[layer]
        _shadow(canvas, figure)
        cut = sprite(seed, figure.identity, infrared, figure.posed)
        scaled = np.asarray(
            cut.resize((max(1, round(CANVAS[0] * figure.scale)), max(1, round(CANVAS[1] * figure.scale))), Image.Resampling.BOX)
        )  # fmt: skip
        left, top = round(figure.x - FEET[0] * figure.scale), round(figure.y - FEET[1] * figure.scale)
        drawn[layer] = _paste(canvas, owner, scaled, left, top, layer + 1)
    shown = []
    for position, figure in enumerate(figures):
        box, pixels = drawn[position]
        seen = int(np.count_nonzero(owner == position + 1))
        if seen and pixels:
            shown.append(Shown(figure.identity, box, seen / pixels))
    return _exposed(canvas, camera, light.gain(camera, time), infrared, draw), shown


def in_view(camera: CityCamera, visit: Visit, time: float, size: tuple[int, int]) -> bool:
    """Return whether a person's centre is within the frame, occluded or not."""
    figure = _figure(camera, visit, time, size)
    return figure is not None and 0 <= figure.x < size[1]


def _figure(camera: CityCamera, visit: Visit, time: float, size: tuple[int, int]) -> _Figure | None:
    if not visit.start <= time < visit.end:
        return None
    place, way = visit.at(time)
    (across, away), (ahead_across, ahead_away) = camera.seen(np.array([place, place + way]))
    if not NEAREST < away < camera.back:
        return None
    right, forward = ahead_across - across, ahead_away - away
    distance = math.hypot(across, away)
    # The heading is relative to the line of sight, not the lens: a passing person is seen from changing sides.
    heading = math.atan2((right * away - forward * across) / distance, -(right * across + forward * away) / distance)
    walked = None if visit.rests(time) else visit.walked(time) / STRIDE
    scale = pixels_a_metre(away, size) * TALL / BODY
    return _Figure(visit.identity, pose(heading, walked), column(across, away, size), row(0, away, size), scale, away)


def _paste(
    canvas: np.ndarray, owner: np.ndarray, image: np.ndarray, left: int, top: int, number: int
) -> tuple[tuple[int, int, int, int], int]:
    """Paste an RGBA image onto the canvas; return the box within the frame of what is more than half opaque, and the
    number of those pixels, including those outside of the frame."""
    height, width = owner.shape
    solid = image[..., 3] >= 128
    pixels = int(np.count_nonzero(solid))
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + image.shape[1], width), min(top + image.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return (0, 0, 0, 0), pixels
    part = image[y0 - top : y1 - top, x0 - left : x1 - left]
    solid = solid[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:].astype(np.float32) / 255
    under = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = (under + alpha * (part[..., :3].astype(np.float32) - under)).astype(np.uint8)
    owner[y0:y1, x0:x1][solid] = number
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0), pixels
    box = (x0 + int(columns[0]), y0 + int(rows[0]), x0 + int(columns[-1]) + 1, y0 + int(rows[-1]) + 1)
    return box, pixels


def _shadow(canvas: np.ndarray, figure: _Figure) -> None:
    """Draw a dark ellipse on the ground below the feet."""
    half, flat = 0.2 * BODY * figure.scale, 0.05 * BODY * figure.scale
    x0, x1 = max(0, int(figure.x - half)), min(canvas.shape[1], int(figure.x + half) + 1)
    y0, y1 = max(0, int(figure.y - flat)), min(canvas.shape[0], int(figure.y + flat) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    y, x = np.ogrid[y0:y1, x0:x1]
    under = ((x - figure.x) / half) ** 2 + ((y - figure.y) / flat) ** 2 < 1
    part = canvas[y0:y1, x0:x1]
    part[under] = (part[under] * 0.68).astype(np.uint8)


def _exposed(
    canvas: np.ndarray, camera: CityCamera, gain: float, infrared: bool, draw: np.random.Generator
) -> np.ndarray:
    height, width = canvas.shape[:2]
    channels = 1 if infrared else 3
    bank = noise_bank()
    count = height * width * channels
    start = int(draw.integers(0, len(bank)))
    noise = np.take(bank, np.arange(start, start + count), mode="wrap").reshape(height, width, channels)
    values = canvas[..., :channels] * (np.array(camera.tint[:channels], np.float32) * np.float32(gain))
    values = values * lamp(height, width, infrared) + camera.noise * noise
    exposed = np.clip(values, 0, 255).astype(np.uint8)
    return np.repeat(exposed, 3, axis=2) if infrared else exposed
