"""What is on the faces of a vehicle's solids: glass, lamps, grilles, plates, stripes, letters, marks and damage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossreid.data.synthetic.canvas import Colour, scaled
from crossreid.data.synthetic.solids import Facing
from crossreid.data.synthetic.vehicles import Form, Paint

BLACK, CHROME = (20, 20, 22), (176, 180, 184)
_LAMP, _TAIL = (232, 234, 226), (176, 22, 26)
_PLATES = {"blue": (36, 68, 168), "yellow": (222, 184, 48), "white": (226, 228, 230)}


@dataclass(frozen=True, slots=True)
class Shape:
    """A type's measures in metres, with the origin on the ground at its centre: ends and half width of the body,
    heights of its underside, of its waist at the rear and at the front, and of the roof; ends of the cabin at its
    bottom and at the roof; half the cabin's width; where the axles are; the wheels' radius; side windows, and whether
    these are a bus's."""

    ends: tuple[float, float]
    half: float
    clearance: float
    waist: tuple[float, float]
    roof: float
    cabin: tuple[float, float]
    top: tuple[float, float]
    narrow: float
    axles: tuple[float, float]
    radius: float
    windows: int


SHAPES = {
    "sedan": Shape((-2.3, 2.3), 0.9, 0.2, (0.98, 0.8), 1.44, (-1.95, 1.05), (-1.25, 0.15), 0.64, (-1.4, 1.4), 0.33, 2),
    "estate": Shape((-2.35, 2.35), 0.9, 0.2, (0.96, 0.8), 1.48, (-2.3, 1.05), (-2.0, 0.15), 0.66, (-1.4, 1.4), 0.33, 3),
    "hatchback": Shape((-1.95, 1.95), 0.86, 0.2, (0.98, 0.84), 1.5, (-1.9, 0.95), (-1.4, 0.1), 0.64, (-1.2, 1.25), 0.31, 2),
    "suv": Shape((-2.3, 2.3), 0.94, 0.32, (1.14, 1.06), 1.8, (-2.25, 0.95), (-1.95, 0.25), 0.7, (-1.4, 1.42), 0.41, 3),
    "mpv": Shape((-2.4, 2.4), 0.93, 0.22, (1.04, 0.9), 1.8, (-2.35, 1.65), (-2.1, 0.6), 0.72, (-1.45, 1.5), 0.35, 3),
    "van": Shape((-2.45, 2.45), 0.96, 0.24, (1.16, 1.05), 2.1, (-2.42, 2.1), (-2.38, 1.45), 0.82, (-1.5, 1.6), 0.35, 3),
    "pickup": Shape((-2.6, 2.6), 0.93, 0.34, (1.06, 1.02), 1.78, (-0.7, 1.25), (-0.55, 0.45), 0.72, (-1.6, 1.6), 0.4, 2),
    "bus": Shape((-4.7, 4.7), 1.25, 0.36, (1.2, 1.1), 3.05, (-4.7, 4.7), (-4.66, 4.6), 1.18, (-2.6, 2.9), 0.5, 7),
    "truck": Shape((1.55, 3.4), 1.1, 0.45, (1.35, 1.3), 2.4, (1.55, 3.36), (1.6, 3.05), 1.02, (-1.9, 2.4), 0.45, 1),
}  # fmt: skip


def _sill(faces: dict[str, Facing], form: Form, paint: Paint, shape: Shape) -> None:
    bumper = {"painted": paint.body, "black": (42, 43, 46), "chrome": CHROME}[form.bumper]
    for name, face in faces.items():
        if name in ("front", "rear"):
            face.fill(bumper)
            face.quad(0, 0, 1, 0.2, BLACK)
            if name == "front":
                face.quad(0.24, 0.22, 0.76, 0.5, BLACK)
                for u in (0.1, 0.9):
                    face.disc(u, 0.4, 0.045, 0.13, (200, 202, 196) if form.lamps != "slim" else BLACK)
            if name == "front" or form.type not in ("sedan", "estate"):
                face.quad(0.37, 0.5, 0.63, 0.86, _PLATES[paint.plate])
        elif name != "top":
            face.fill(paint.body)
            face.quad(0, 0, 1, 0.24, scaled(paint.body, 0.45))
        else:
            face.fill(paint.body)


def _body(faces: dict[str, Facing], form: Form, paint: Paint, shape: Shape) -> None:
    for name, face in faces.items():
        face.fill(paint.body)
        if name == "front":
            _grille(face, form, paint)
        elif name == "rear":
            _tail(face, form, paint)
        elif name == "top":
            if form.type == "pickup":
                face.quad(0.08, 0.02, 0.92, 0.37, (34, 34, 36))
                face.quad(0.14, 0.04, 0.86, 0.36, (60, 60, 62))
            else:
                for u in (0.2, 0.8):
                    face.patch([(u, 0.78), (u + 0.015, 0.78), (u + 0.015, 1), (u, 1)], scaled(paint.body, 0.8))
        else:
            mark = form.left if name == "left" else form.right
            face.quad(0, 0.9, 1, 1, scaled(paint.body, 1.12))
            _side_mark(face, mark, form, paint, below=-0.6)
            if form.type not in ("bus", "truck"):
                for u in (0.36, 0.52, 0.68) if shape.windows > 1 else (0.55,):
                    face.quad(u - 0.003, -0.3, u + 0.003, 1, scaled(paint.body, 0.55))
                for u in (0.4, 0.56):
                    face.quad(u, 0.74, u + 0.045, 0.82, scaled(paint.body, 0.6))
            face.quad(0.965, 0.45, 1, 0.8, _LAMP)
            face.quad(0, 0.4, 0.03, 0.85, _TAIL)
        _damage(face, name, form)


def _grille(face: Facing, form: Form, paint: Paint) -> None:
    wide, low, high = {"bars": (0.27, 0.15, 0.75), "mesh": (0.24, 0.05, 0.9), "chrome": (0.3, 0.2, 0.7), "slit": (0.3, 0.5, 0.75)}[
        form.grille
    ]  # fmt: skip
    face.quad(0.5 - wide, low, 0.5 + wide, high, CHROME if form.grille in ("chrome", "mesh") else BLACK)
    face.quad(0.52 - wide, low + 0.08, 0.48 + wide, high - 0.08, BLACK)
    if form.grille == "bars":
        for v in (0.35, 0.55):
            face.quad(0.52 - wide, v, 0.48 + wide, v + 0.06, CHROME)
    if form.grille == "chrome":
        for k in range(1, 6):
            u = 0.5 - wide + 2 * wide * k / 6
            face.quad(u - 0.01, low, u + 0.01, high, CHROME)
    face.disc(0.5, (low + high) / 2, 0.035, 0.14, CHROME)
    for u in (0.12, 0.88):
        if form.lamps == "round":
            face.disc(u, 0.5, 0.085, 0.34, CHROME)
            face.disc(u, 0.5, 0.07, 0.28, _LAMP)
        elif form.lamps == "slim":
            inner = u + (0.1 if u < 0.5 else -0.1)
            outer = 0.02 if u < 0.5 else 0.98
            face.patch([(outer, 0.55), (inner, 0.4), (inner, 0.58), (outer, 0.85)], _LAMP)
        else:
            face.quad(u - 0.09, 0.2, u + 0.09, 0.8, _LAMP)
            face.quad(u - 0.09, 0.2, u - 0.03, 0.8, (214, 150, 60))


def _tail(face: Facing, form: Form, paint: Paint) -> None:
    face.quad(0.1, 0.86, 0.9, 0.92, scaled(paint.body, 0.7))
    if form.type in ("sedan", "estate"):
        face.quad(0.36, 0.2, 0.64, 0.56, _PLATES[paint.plate])
    if form.tail == "band":
        face.quad(0.03, 0.6, 0.97, 0.82, _TAIL)
    for u in (0.11, 0.89):
        if form.tail == "upright":
            face.quad(u - 0.06, 0.1, u + 0.06, 1, _TAIL)
            face.quad(u - 0.06, 0.4, u + 0.06, 0.58, _LAMP)
        else:
            face.quad(u - 0.1, 0.42, u + 0.1, 0.84, _TAIL)
            face.quad(u - 0.04, 0.44, u + 0.04, 0.6, (214, 150, 60))


def _side_mark(face: Facing, mark: str, form: Form, paint: Paint, *, below: float = 0.0) -> None:
    """Draw the mark of one side; what covers the lower part starts at the height `below`, which may be on the sill."""
    at = form.mark_at
    if mark == "stripe":
        face.quad(0.02, at, 0.98, at + 0.22, paint.mark)
    elif mark == "two stripes":
        face.quad(0.02, at, 0.98, at + 0.1, paint.mark)
        face.quad(0.02, at + 0.2, 0.98, at + 0.3, paint.mark)
    elif mark == "lower panel":
        face.quad(0, below, 1, max(0.15, at * 0.7), paint.mark)
    elif mark == "lettering":
        _letters(face, 0.26, at, 0.8, at + 0.3, form.letters, paint.mark)
    elif mark == "badge":
        face.disc(0.5, at + 0.15, 0.075, 0.3, paint.mark)
        face.disc(0.5, at + 0.15, 0.04, 0.15, paint.sticker)
    elif mark == "wave":
        crest = [(u, at + 0.18 + 0.2 * math.sin(7 * u + form.letters)) for u in np.linspace(0.05, 0.98, 12)]
        face.patch([(0.05, below / 3), *crest, (0.98, below / 3)], paint.mark)


def _letters(face: Facing, u0: float, v0: float, u1: float, v1: float, count: int, colour: Colour) -> None:
    """Draw blocks that look like letters from afar."""
    step = (u1 - u0) / count
    for k in range(count):
        u = u0 + k * step
        tall = v1 if k % 3 else v0 + 0.75 * (v1 - v0)
        face.quad(u, v0, u + step * 0.7, tall, colour)
        if (k * 7 + count) % 2:
            face.quad(
                u + step * 0.22, v0 + 0.3 * (v1 - v0), u + step * 0.48, v0 + 0.6 * (v1 - v0), scaled(colour, 0.45)
            )


def _damage(face: Facing, name: str, form: Form) -> None:
    if form.damage != name:
        return
    u, v = 0.12 + 0.76 * form.damage_at, 0.3
    wide = 0.06 if name in ("left", "right") else 0.1
    face.patch(
        [(u - wide, v), (u - 0.3 * wide, v + 0.4), (u + 0.8 * wide, v + 0.3), (u + wide, v - 0.1), (u, v - 0.2)],
        (88, 78, 66),
    )  # fmt: skip
    face.patch([(u - 0.4 * wide, v), (u, v + 0.2), (u + 0.5 * wide, v)], (44, 40, 36))


def _cabin(faces: dict[str, Facing], form: Form, paint: Paint, shape: Shape) -> None:
    glass, shine = paint.glass, scaled(paint.glass, 1.5)
    for name, face in faces.items():
        if name == "top":
            face.fill(paint.roof)
            if form.roof == "sunroof":
                face.quad(0.2, 0.5, 0.8, 0.86, (24, 28, 34))
                face.quad(0.22, 0.52, 0.78, 0.6, (70, 80, 92))
            continue
        face.fill(paint.body)
        if name == "front":
            low = 0.34 if form.type in ("bus", "van", "truck") else 0.06
            face.quad(0.05, low, 0.95, 0.93, glass)
            face.patch([(0.55, low), (0.78, low), (0.62, 0.93), (0.46, 0.93)], shine)
            for k in range(form.papers):
                u = 0.1 + 0.12 * k if not form.papers_left else 0.9 - 0.12 * k
                face.quad(u - 0.04, 0.7, u + 0.04, 0.88, paint.sticker if k % 2 else (236, 236, 230))
            if form.type == "bus":
                face.quad(0.2, 0.86, 0.8, 0.97, (24, 24, 24))
                _letters(face, 0.3, 0.88, 0.7, 0.95, form.letters, (236, 150, 40))
        elif name == "rear":
            if form.type == "van" and form.panelled:
                face.quad(0.49, 0, 0.51, 1, scaled(paint.body, 0.6))
            else:
                low = 0.45 if form.type in ("bus", "van") else 0.1
                face.quad(0.08, low, 0.92, 0.9, glass)
                face.patch([(0.3, low), (0.5, low), (0.6, 0.9), (0.42, 0.9)], shine)
            _sticker(face, form, paint)
            if form.rear == "wiper":
                face.patch([(0.5, 0.1), (0.54, 0.1), (0.76, 0.5), (0.73, 0.52)], BLACK)
        else:
            _side_windows(face, form, paint, shape, form.left if name == "left" else form.right)


def _side_windows(face: Facing, form: Form, paint: Paint, shape: Shape, mark: str) -> None:
    glass, shine = paint.glass, scaled(paint.glass, 1.5)
    if form.type == "van" and form.panelled:
        face.quad(0.7, 0.25, 0.9, 0.88, glass)
        if mark == "lettering":
            _letters(face, 0.12, 0.3, 0.62, 0.75, form.letters, paint.mark)
        elif mark in ("badge", "wave"):
            face.disc(0.36, 0.5, 0.1, 0.26, paint.mark)
        return
    low, high = (0.42, 0.88) if form.type == "bus" else (0.3, 0.86) if form.type == "van" else (0.12, 0.88)
    left, right = (0.03, 0.99) if form.type == "bus" else (0.05, 0.95)
    step = (right - left) / shape.windows
    for k in range(shape.windows):
        u = left + k * step
        face.quad(u, low, u + step * 0.92, high, glass)
        face.patch(
            [(u + 0.3 * step, low), (u + 0.5 * step, low), (u + 0.65 * step, high), (u + 0.45 * step, high)], shine
        )
    if form.type == "bus" and mark != "plain":
        _letters(face, 0.1, 0.9, 0.8, 0.98, form.letters, paint.mark)


def _sticker(face: Facing, form: Form, paint: Paint) -> None:
    if form.sticker == "wide":
        face.quad(0.15, 0.62, 0.85, 0.82, paint.sticker)
    elif form.sticker == "row":
        for k in range(3):
            face.disc(0.3 + 0.2 * k, 0.4, 0.06, 0.13, paint.sticker)
    elif form.sticker != "none":
        u = 0.72 if form.sticker == "left" else 0.28
        face.quad(u - 0.13, 0.22, u + 0.13, 0.6, paint.sticker)
        face.quad(u - 0.07, 0.34, u + 0.07, 0.46, scaled(paint.sticker, 0.4))


def _bed(faces: dict[str, Facing], form: Form, paint: Paint, shape: Shape) -> None:
    for face in faces.values():
        face.fill((52, 52, 56))
    if "rear" in faces:
        for u in (0.1, 0.9):
            faces["rear"].quad(u - 0.08, 0.2, u + 0.08, 0.9, _TAIL)
        faces["rear"].quad(0.38, 0.05, 0.62, 0.95, _PLATES[paint.plate])


def _cargo(faces: dict[str, Facing], form: Form, paint: Paint, shape: Shape) -> None:
    for name, face in faces.items():
        face.fill(paint.cargo)
        if name in ("left", "right"):
            for k in range(1, 6 + form.letters // 2):
                u = k / (6 + form.letters // 2)
                face.quad(u - 0.004, 0, u + 0.004, 1, scaled(paint.cargo, 0.75))
            _side_mark(face, form.left if name == "left" else form.right, form, paint)
        elif name == "rear":
            face.quad(0.49, 0, 0.51, 1, scaled(paint.cargo, 0.6))
            face.quad(0, 0, 1, 0.08, (176, 60, 40))
            _sticker(face, form, paint)
        elif name == "top" and not form.panelled:
            face.quad(0.06, 0.03, 0.94, 0.97, (58, 56, 54))
        _damage(face, name, form)


PAINTERS = {"sill": _sill, "body": _body, "cabin": _cabin, "bed": _bed, "cargo": _cargo}
