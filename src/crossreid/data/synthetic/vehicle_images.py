"""The road cameras that vehicles pass, and their images."""

from __future__ import annotations

import math

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.cameras import Camera, nuisance
from crossreid.data.synthetic.scenes import OVER, backdrop, expose, occlude
from crossreid.data.synthetic.vehicle_body import draw_vehicle
from crossreid.data.synthetic.vehicles import Passing, Vehicle


def _camera(
    number: int, scene: str, heading: float, spread: float, tilt: float, light: float,
    tint: tuple[float, float, float], blur: float, noise: float, occlusion: float,
) -> Camera:  # fmt: skip
    return Camera(number, Modality.VISIBLE, scene, heading, spread, tilt, light, tint, blur, noise, occlusion)


CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        _camera(1, "avenue", 20, 25, 0.96, 1.00, (1.00, 1.00, 1.00), 0.5, 3, 0.08),
        _camera(2, "junction", 65, 35, 0.93, 0.92, (1.03, 1.00, 0.95), 0.7, 4, 0.12),
        _camera(3, "avenue", 160, 30, 0.95, 1.08, (0.96, 1.00, 1.06), 0.4, 3, 0.10),
        _camera(4, "street", 270, 30, 0.98, 0.85, (1.00, 1.00, 1.00), 0.8, 5, 0.18),
        _camera(5, "junction", 320, 35, 0.92, 1.10, (0.98, 1.02, 1.00), 0.6, 3, 0.10),
        _camera(6, "street", 100, 35, 0.97, 0.72, (1.06, 1.00, 0.88), 0.9, 7, 0.15),
        _camera(7, "junction", 215, 35, 0.94, 0.95, (1.00, 1.00, 1.04), 0.7, 4, 0.12),
        _camera(8, "avenue", 345, 25, 0.90, 0.65, (0.90, 0.98, 1.12), 1.0, 8, 0.10),
    )
}


def image_of(
    who: Vehicle, seed: int, identity: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, Passing]:
    """Return image `index` of a vehicle by camera `number`, `(height, width, 3)` uint8, and its nuisance factors.

    It depends only on these numbers. The vehicle fills the image as a detector's crop would: square sizes suit it.
    """
    draw = np.random.default_rng((seed, identity, number, index, 2))
    camera = CAMERAS[number]
    common = nuisance(camera, draw)
    seen = Passing(
        heading=common.heading,
        elevation=round(math.degrees(math.acos(camera.tilt)) + float(draw.uniform(-3, 3)), 1),
        turn=common.phase,
        sun=round(float(draw.uniform(0, 360)), 1),
        zoom=common.zoom,
        shift_x=common.shift_x,
        shift_y=common.shift_y,
        light=common.light,
        blur=common.blur,
        occlusion=common.occlusion,
        occlusion_at=common.occlusion_at,
        backdrop=common.backdrop,
    )
    canvas = backdrop(camera, seen.backdrop, (size[0] * OVER, size[1] * OVER))
    draw_vehicle(canvas, who.form, who.paint, seen)
    occlude(canvas, seen, camera)
    return expose(canvas.reduce(OVER), camera, seen, draw), seen
