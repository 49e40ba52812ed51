"""The camera traps that see animals from the side, and their images: of one animal, or whole pictures of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.animal_body import draw_animal
from crossreid.data.synthetic.animals import LEFT, RIGHT, Animal, Visit
from crossreid.data.synthetic.cameras import Camera, nuisance
from crossreid.data.synthetic.scenes import OVER, backdrop, expose, occlude


def _camera(
    number: int, scene: str, heading: float, spread: float, light: float, tint: tuple[float, float, float],
    blur: float, noise: float, occlusion: float,
) -> Camera:  # fmt: skip
    return Camera(number, Modality.VISIBLE, scene, heading, spread, 1.0, light, tint, blur, noise, occlusion)


# At heading 90 an animal walks to the right and shows its right flank, at 270 to the left.
CAMERAS: dict[int, Camera] = {
    camera.number: camera
    for camera in (
        _camera(1, "forest", 90, 30, 1.00, (1.00, 1.00, 0.96), 0.5, 4, 0.15),
        _camera(2, "clearing", 270, 40, 1.08, (1.04, 1.00, 0.92), 0.4, 3, 0.10),
        _camera(3, "snow", 75, 25, 0.92, (0.94, 1.00, 1.08), 0.6, 4, 0.08),
        _camera(4, "park", 285, 25, 0.80, (0.98, 1.03, 0.96), 0.8, 6, 0.15),
        _camera(5, "forest", 270, 40, 0.66, (1.02, 1.00, 0.98), 1.0, 9, 0.18),
    )
}
# How often an animal walks a camera's path the other way, and shows the other flank.
_OTHER_WAY = 0.3


def image_of(
    who: Animal, seed: int, identity: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, Visit]:
    """Return image `index` of an animal by camera `number`, `(height, width, 3)` uint8, and its nuisance factors.

    It depends only on these numbers. The animal fills the image as a detector's crop would: square or wide sizes suit
    it.
    """
    camera, draw = CAMERAS[number], np.random.default_rng((seed, identity, number, index, 3))
    seen = _visit(camera, draw)
    canvas = backdrop(camera, seen.backdrop, (size[0] * OVER, size[1] * OVER))
    draw_animal(canvas, who, seen, (0, 0, *canvas.size))
    occlude(canvas, seen, camera)
    return expose(canvas.reduce(OVER), camera, seen, draw), seen


def wild_image_of(
    sightings: Sequence[tuple[Animal, int]], seed: int, number: int, index: int, size: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Return a whole picture `(height, width, 3)` uint8 of camera `number` with several animals side by side.

    Args:
        sightings: the animals and their identities, from left to right.

    Returns:
        the picture, and a box (left, top, right, bottom) in pixels around each animal.
    """
    height, width = size
    camera, draw = CAMERAS[number], np.random.default_rng((seed, sightings[0][1], number, index, 4))
    visits = [_visit(camera, draw) for _ in sightings]
    canvas = backdrop(camera, visits[0].backdrop, (height * OVER, width * OVER))
    boxes = []
    column = width // len(sightings)
    for position, ((who, _), seen) in enumerate(zip(sightings, visits, strict=True)):
        side = int(min(column, height) * draw.uniform(0.55, 0.85))
        left = position * column + int(draw.uniform(0, column - side))
        tall = int(0.72 * side)
        top = int(draw.uniform(0.5, 1.0) * (height - tall))
        box = (left, top, left + side, top + tall)
        draw_animal(canvas, who, seen, (box[0] * OVER, box[1] * OVER, box[2] * OVER, box[3] * OVER))
        boxes.append(box)
    return expose(canvas.reduce(OVER), camera, visits[0], draw), boxes


def _visit(camera: Camera, draw: np.random.Generator) -> Visit:
    common = nuisance(camera, draw)
    heading = common.heading if draw.random() >= _OTHER_WAY else round((common.heading + 180) % 360, 1)
    return Visit(
        heading=heading,
        flank=RIGHT if heading < 180 else LEFT,
        phase=common.phase,
        stride=common.stride,
        nod=round(float(draw.uniform(-1, 1)), 3),
        tail_up=round(float(draw.uniform(0, 1)), 3),
        zoom=common.zoom,
        shift_x=common.shift_x,
        shift_y=common.shift_y,
        light=common.light,
        blur=common.blur,
        occlusion=common.occlusion,
        occlusion_at=common.occlusion_at,
        backdrop=common.backdrop,
    )
