"""What is behind and in front of a camera's people, the same in every frame: walls, doors, ground and furniture."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from crossreid.data.synthetic.canvas import Colour
from crossreid.data.synthetic.city.places import FOCAL, HORIZON, LENS, SITES, CityCamera, Furniture
from crossreid.data.synthetic.scenes import OVER

# For each scene by day: wall, ground, detail; then their brightness under an infrared lamp.
_COLOURS: dict[str, tuple[Colour, Colour, Colour]] = {
    "hall": ((176, 182, 190), (118, 124, 132), (208, 206, 196)),
    "passage": ((140, 122, 108), (96, 92, 90), (110, 96, 84)),
    "square": ((168, 156, 142), (136, 134, 132), (128, 92, 78)),
    "street": ((142, 138, 140), (100, 102, 108), (94, 86, 110)),
    "park": ((104, 134, 92), (148, 140, 116), (62, 92, 54)),
}
_INFRARED: dict[str, tuple[int, int, int]] = {
    "hall": (108, 64, 136),
    "passage": (96, 70, 122),
    "square": (92, 66, 118),
    "street": (84, 58, 112),
    "park": (150, 88, 188),  # leaves are bright in near-infrared light
}
_WOOD, _STONE, _IRON = (118, 90, 64), (150, 148, 144), (74, 76, 80)


def column(across: float, away: float, size: tuple[int, int]) -> float:
    """Return the column of a position, in pixels from the left, in a frame of size (height, width)."""
    return size[1] * (0.5 + FOCAL * across / away)


def row(up: float, away: float, size: tuple[int, int]) -> float:
    """Return the row of a point `up` metres above the ground, in pixels from the top."""
    return size[0] * HORIZON + FOCAL * size[1] * (LENS - up) / away


def pixels_a_metre(away: float, size: tuple[int, int]) -> float:
    return FOCAL * size[1] / away


@functools.lru_cache(maxsize=32)
def backdrop(camera: CityCamera, infrared: bool, size: tuple[int, int]) -> np.ndarray:
    """Return `(height, width, 3)` uint8, evenly lit; equal channels in infrared light."""
    over = (size[0] * OVER, size[1] * OVER)
    draw = np.random.default_rng((camera.number, 41))
    wall, ground, detail = _palette(camera.scene, infrared)
    image = Image.new("RGB", over[::-1], wall)
    pen = ImageDraw.Draw(image)
    foot = row(0, camera.back, over)
    _wall(pen, camera, over, foot, detail, draw)
    for gate in SITES[camera.site].gates.values():
        across, away = camera.seen(np.array([gate]))[0]
        if camera.back - 1 < away < camera.back + 3:
            half = 0.75 * pixels_a_metre(camera.back, over)
            x, top = column(across * camera.back / away, camera.back, over), row(2.35, camera.back, over)
            pen.rectangle(
                (x - half, top, x + half, foot), fill=_dimmed(ground, 0.42), outline=_dimmed(wall, 0.7), width=4
            )
    pen.rectangle((0, foot, over[1], over[0]), fill=ground)
    _joints(pen, camera, over, _dimmed(ground, 0.86))
    values = np.asarray(image, dtype=np.float32)
    grain = draw.normal(0, 7, size=(size[0], size[1])).repeat(OVER, 0).repeat(OVER, 1)
    textured = Image.fromarray(np.clip(values + grain[..., None], 0, 255).astype(np.uint8))
    return np.asarray(textured.filter(ImageFilter.BoxBlur(1.2)).reduce(OVER))


def _palette(scene: str, infrared: bool) -> tuple[Colour, Colour, Colour]:
    if not infrared:
        return _COLOURS[scene]
    wall, ground, detail = _INFRARED[scene]
    return (wall,) * 3, (ground,) * 3, (detail,) * 3


def _wall(
    pen: ImageDraw.ImageDraw, camera: CityCamera, over: tuple[int, int], foot: float, detail: Colour, draw: np.random.Generator
) -> None:  # fmt: skip
    """Draw panels, windows, shop fronts or trees along the wall, sized in metres."""
    metre = pixels_a_metre(camera.back, over)
    x = -0.6 * metre
    while x < over[1]:
        width = draw.uniform(1.2, 2.6) * metre
        shade = _dimmed(detail, draw.uniform(0.78, 1.16))
        if camera.scene == "park":
            top = foot - draw.uniform(2.4, 3.6) * metre
            pen.rectangle((x + width * 0.44, foot - 1.2 * metre, x + width * 0.56, foot), fill=_dimmed(shade, 0.55))
            pen.ellipse((x - 0.2 * metre, top, x + width, foot - 0.5 * metre), fill=shade)
        elif camera.scene in ("square", "street"):
            pen.rectangle((x, foot - 4 * metre, x + width - 0.1 * metre, foot), fill=shade)
            glass = _dimmed(shade, 1.35 if draw.random() < 0.6 else 0.6)
            pen.rectangle(
                (x + 0.25 * metre, foot - 1.9 * metre, x + width - 0.4 * metre, foot - 0.8 * metre), fill=glass
            )
        else:
            pen.rectangle((x, foot - 2.6 * metre, x + width - 0.25 * metre, foot - 0.15 * metre), fill=shade)
            pen.line((x, foot - 1.1 * metre, x + width, foot - 1.1 * metre), fill=_dimmed(shade, 0.8), width=3)
        x += width + draw.uniform(0, 0.7) * metre


def _joints(pen: ImageDraw.ImageDraw, camera: CityCamera, over: tuple[int, int], fill: Colour) -> None:
    """Draw the joints of one-metre slabs, which give the ground its perspective."""
    for step in range(2, int(camera.back) + 1):
        y = row(0, step, over)
        pen.line((0, y, over[1], y), fill=fill, width=2)
    for across in range(-12, 13):
        near, far = 1.5, camera.back
        pen.line(
            (column(across, near, over), row(0, near, over), column(across, far, over), row(0, far, over)), fill, 2
        )


@dataclass(frozen=True, eq=False, slots=True)
class Prop:
    """A piece of furniture as a camera sees it: RGBA `(h, w, 4)` uint8 with its corner at (left, top) of the frame."""

    image: np.ndarray
    left: int
    top: int
    away: float


@functools.lru_cache(maxsize=32)
def props(camera: CityCamera, infrared: bool, size: tuple[int, int]) -> tuple[Prop, ...]:
    """Return what stands in the camera's site, farthest first."""
    found = [_prop(camera, piece, infrared, size) for piece in SITES[camera.site].furniture]
    return tuple(sorted((prop for prop in found if prop is not None), key=lambda prop: -prop.away))


def _prop(camera: CityCamera, piece: Furniture, infrared: bool, size: tuple[int, int]) -> Prop | None:
    across, away = camera.seen(np.array([(piece.x, piece.y)]))[0]
    if away < 1:
        return None
    metre = pixels_a_metre(away, size)
    width, height = max(2, round(piece.width * metre)), max(2, round(piece.height * metre))
    base = {"post": _IRON, "planter": _WOOD, "pillar": _STONE}[piece.kind]
    if infrared:
        base = (round(sum(base) / 3 * 0.9),) * 3
    image = Image.new("RGBA", (width, height), (*base, 255))
    pen = ImageDraw.Draw(image)
    if piece.kind == "planter":
        leaves = (170,) * 3 if infrared else (70, 112, 60)
        pen.rectangle((0, 0, width, height * 0.42), fill=(*leaves, 255))
    pen.line((width * 0.25, 0, width * 0.25, height), fill=(*_dimmed(base, 1.25), 255), width=max(1, width // 12))
    left, bottom = round(column(across, away, size) - width / 2), round(row(0, away, size))
    return Prop(np.asarray(image), left, bottom - height, float(away))


def _dimmed(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255, max(0, channel * factor))) for channel in colour)
    return red, green, blue
