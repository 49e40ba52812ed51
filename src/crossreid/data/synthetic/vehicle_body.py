"""Vehicles as bevelled boxes on wheels, drawn farthest first; `vehicle_faces` draws the details of the faces."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from crossreid.data.synthetic.canvas import Colour, darker, scaled
from crossreid.data.synthetic.solids import Solid, Stand, facing, wheel
from crossreid.data.synthetic.vehicle_faces import BLACK, CHROME, PAINTERS, SHAPES, Shape
from crossreid.data.synthetic.vehicles import Form, Paint, Passing

_TYRE = (26, 26, 28)


def draw_vehicle(canvas: Image.Image, form: Form, paint: Paint, seen: Passing) -> None:
    """Draw a vehicle and its shadow so that it fills the canvas except for a margin."""
    shape = _fitted(SHAPES[form.type], form)
    solids = _solids(shape, form)
    heading, elevation = math.radians(seen.heading), math.radians(max(seen.elevation, 2.0))
    azimuth = math.radians(seen.sun)
    sun = (0.6 * math.cos(azimuth), 0.6 * math.sin(azimuth), 0.8)
    unit = Stand(heading, elevation, 0.0, 0.0, 1.0, sun)
    places = [
        unit.place(point) for solid in solids.values() for face in ("front", "rear") for point in solid.face(face)
    ]
    left, right = min(x for x, _ in places), max(x for x, _ in places)
    top = min(y for _, y in places)
    bottom = max(unit.place((x, y, 0))[1] for x in (-shape.half, shape.half) for y in shape.axles)
    bottom = max(bottom + 0.1, *(y for _, y in places))
    width, height = canvas.size
    scale = seen.zoom * min(0.88 * width / (right - left), 0.84 * height / (bottom - top))
    stand = Stand(
        heading, elevation,
        width * (0.5 + seen.shift_x) - scale * (left + right) / 2,
        height * (0.5 + seen.shift_y) - scale * (top + bottom) / 2,
        scale, sun,
    )  # fmt: skip
    pen = ImageDraw.Draw(canvas)
    _shadow(canvas, pen, stand, shape, form)
    _undercarriage(pen, stand, shape, form)
    front_near = math.cos(heading) > 0
    for name in _order(form.type, front_near):
        if name == "cabin" and front_near:
            _at_rear(pen, stand, shape, form, paint)
        faces = facing(pen, stand, solids[name])
        PAINTERS[name](faces, form, paint, shape)
        if name == "body":
            _wheels(pen, stand, shape, form, paint, seen.turn)
        elif name == "cabin":
            _on_roof(pen, stand, shape, form, paint)
    if not front_near:
        _at_rear(pen, stand, shape, form, paint)


def _fitted(shape: Shape, form: Form) -> Shape:
    def longer(pair: tuple[float, float]) -> tuple[float, float]:
        return pair[0] * form.length, pair[1] * form.length

    return Shape(
        longer(shape.ends), shape.half, shape.clearance, shape.waist, shape.roof * form.height, longer(shape.cabin),
        longer(shape.top), shape.narrow, longer(shape.axles), shape.radius, shape.windows,
    )  # fmt: skip


def _solids(shape: Shape, form: Form) -> dict[str, Solid]:
    rear, front = shape.ends
    step = shape.clearance + 0.42 * (shape.waist[1] - shape.clearance)
    bevel = 0.03 if form.type in ("bus", "van", "truck") else 0.1
    solids = {
        "sill": Solid((rear + 0.03, front - 0.03), (rear, front), shape.clearance, (step, step), (shape.half - 0.03, shape.half)),
        "body": Solid((rear, front), (rear + bevel, front - 1.4 * bevel), step, shape.waist, (shape.half, shape.half - 0.04)),
        "cabin": Solid(shape.cabin, shape.top, min(shape.waist), (shape.roof, shape.roof), (shape.half - 0.06, shape.narrow)),
    }  # fmt: skip
    if form.type == "truck":
        tall = (1.75 + 0.9 * form.damage_at) * form.height if form.panelled else 1.0
        back = (-3.5 * form.length, 1.4 * form.length)
        solids["bed"] = Solid(back, back, 0.62, (0.9, 0.9), (1.05, 1.05))
        solids["cargo"] = Solid(back, back, 0.9, (0.9 + tall, 0.9 + tall), (1.14, 1.14))
    return solids


def _order(kind: str, front_near: bool) -> tuple[str, ...]:
    """Return the drawing order: the farther end of a truck first; otherwise lower solids first."""
    if kind != "truck":
        return "sill", "body", "cabin"
    cab, load = ("sill", "body", "cabin"), ("bed", "cargo")
    return (*load, *cab) if front_near else (*cab, *load)


def _shadow(canvas: Image.Image, pen: ImageDraw.ImageDraw, stand: Stand, shape: Shape, form: Form) -> None:
    rear, front = shape.ends if form.type != "truck" else (-3.5 * form.length, shape.ends[1])
    wide = shape.half + 0.1
    corners = [(-wide, rear - 0.1, 0.0), (wide, rear - 0.1, 0.0), (wide, front + 0.1, 0.0), (-wide, front + 0.1, 0.0)]
    width, height = canvas.size
    x, y = (int(c) for c in stand.place((0, 0, 0)))
    spot = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    pen.polygon([stand.place(corner) for corner in corners], fill=darker(canvas, spot, 0.42))


def _undercarriage(pen: ImageDraw.ImageDraw, stand: Stand, shape: Shape, form: Form) -> None:
    """Draw tyres as boxes: below the body they also show from the ends."""
    axles = [shape.axles[0], shape.axles[1]]
    if form.type == "truck":
        axles.append(shape.axles[0] + 1.05)
    for forward in axles:
        for side in (-1, 1):
            outer = side * shape.half
            inner = outer - side * 0.22
            low, high = min(outer, inner), max(outer, inner)
            tyre = [(x, forward + y, z) for x in (low, high) for y, z in _box(shape.radius)]
            places = [stand.place(point) for point in tyre]
            pen.polygon(_hull(places), fill=_TYRE)


def _box(radius: float) -> list[tuple[float, float]]:
    return [(radius * math.cos(a), radius * (1 + math.sin(a))) for a in np.linspace(0, 2 * math.pi, 10, endpoint=False)]


def _hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the convex hull, by Andrew's monotone chain."""
    ordered = sorted(points)

    def half(chain: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in chain:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return half(ordered) + half(ordered[::-1])


def _wheels(pen: ImageDraw.ImageDraw, stand: Stand, shape: Shape, form: Form, paint: Paint, turn: float) -> None:
    side = -1 if math.sin(stand.heading) > 0 else 1
    if abs(math.sin(stand.heading)) < 0.08:
        return
    rim = {"dark": (58, 60, 64), "disc": (196, 198, 200)}.get(form.rims, (168, 172, 176))
    spokes = {"five spokes": 5, "ten spokes": 10, "cross": 4}.get(form.rims, 0)
    axles = [*shape.axles, shape.axles[0] + 1.05] if form.type == "truck" else list(shape.axles)
    for forward in axles:
        centre = (side * (shape.half + 0.01), forward, shape.radius)
        wheel(pen, stand, centre, shape.radius * 1.2, BLACK)
        wheel(pen, stand, centre, shape.radius, _TYRE)
        wheel(pen, stand, centre, shape.radius * 0.68, (92, 95, 100) if spokes else rim)
        if spokes:
            gap = 2 * math.pi / spokes
            wheel(pen, stand, centre, shape.radius * 0.66, rim, [turn + gap * k for k in range(spokes)])
        wheel(pen, stand, centre, shape.radius * 0.18, scaled(rim, 0.7))


def _on_roof(pen: ImageDraw.ImageDraw, stand: Stand, shape: Shape, form: Form, paint: Paint) -> None:
    rear, front = shape.top
    long, middle, roof = front - rear, (front + rear) / 2, shape.roof

    def block(ends: tuple[float, float], height: float, half: float, colour: Colour, lateral: float = 0.0) -> None:
        solid = Solid(ends, (ends[0] + 0.03, ends[1] - 0.03), roof, (roof + height, roof + height), (half, half * 0.9))
        moved = stand if not lateral else _beside(stand, lateral)
        for face in facing(pen, moved, solid).values():
            face.fill(colour)

    if form.roof == "rails":
        for side in (-1, 1) if math.sin(stand.heading) < 0 else (1, -1):
            block((rear + 0.12 * long, front - 0.08 * long), 0.08, 0.035, CHROME, side * (shape.narrow - 0.06))
    elif form.roof == "box":
        block((middle - 0.3 * long, middle + 0.25 * long), 0.24, shape.narrow * 0.6, (48, 50, 54))
    elif form.roof == "beacon":
        block((middle + 0.1 * long, middle + 0.1 * long + 0.28), 0.14, shape.narrow * 0.75, (226, 128, 24))
    elif form.roof == "sign":
        block((middle, middle + 0.3), 0.2, 0.28, paint.sticker)


def _beside(stand: Stand, lateral: float) -> Stand:
    """Return the same stand with its origin moved sideways."""
    x, y = stand.place((lateral, 0, 0))
    return Stand(stand.heading, stand.elevation, x, y, stand.scale, stand.sun)


def _at_rear(pen: ImageDraw.ImageDraw, stand: Stand, shape: Shape, form: Form, paint: Paint) -> None:
    rear = shape.ends[0]
    if form.rear == "spoiler" and form.type in ("sedan", "hatchback", "estate", "suv"):
        back, up = (rear + 0.1, shape.waist[0]) if form.type == "sedan" else (shape.top[0] - 0.05, shape.roof - 0.02)
        lift = 0.16 if form.type == "sedan" else 0.02
        wing = Solid(
            (back - 0.12, back + 0.2), (back - 0.12, back + 0.2), up + lift, (up + lift + 0.06,) * 2, (0.68, 0.68)
        )
        for face in facing(pen, stand, wing).values():
            face.fill(scaled(paint.body, 0.75))
    if form.rear == "spare wheel" and form.type in ("suv", "mpv", "van", "hatchback") and math.cos(stand.heading) < 0:
        case = Solid((rear - 0.2, rear), (rear - 0.2, rear), 0.62, (1.26, 1.26), (0.32, 0.32))
        for name, face in facing(pen, stand, case).items():
            if name != "rear":
                continue
            face.disc(0.5, 0.5, 0.5, 0.5, _TYRE)
            face.disc(0.5, 0.5, 0.34, 0.34, paint.mark)
            face.disc(0.5, 0.5, 0.12, 0.12, CHROME)
