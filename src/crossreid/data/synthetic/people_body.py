"""A walking body in three dimensions, drawn part by part, farthest first.

Joints have coordinates (lateral, forward, height) in fractions of the body's height; rotated by the heading, they give
a position on the screen and a depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from crossreid.data.synthetic.canvas import Colour, View, between, limb, scaled
from crossreid.data.synthetic.people import Shared


def draw_body(
    image: Image.Image, shared: Shared, view: View, phase: float, stride: float, colour: Callable[[str], Colour]
) -> None:
    """Draw a walking person; `colour` gives the colour of `skin`, `hair`, `top`, `bottom`, `shoes`, `bag` and `hat`."""
    draw = ImageDraw.Draw(image)
    parts: list[tuple[float, Callable[[], None]]] = []
    hip, neck = shared.leg_ratio, 0.83
    width, hips = shared.shoulder * shared.build**0.5, 0.085 * shared.build
    for side in (-1, 1):
        swing = stride * math.sin(phase) * side
        parts.append(_leg(draw, shared, view, side, swing, hips, hip, colour))
        parts.append(_arm(draw, shared, view, side, -swing, width, neck, colour))
    parts.append((0.0, lambda: _torso(image, draw, shared, view, width, hips, hip, neck, colour)))
    parts.append((0.001, lambda: _head(draw, shared, view, neck, colour)))
    if shared.bag != "none":
        parts.append(_bag(draw, shared, view, width, hips, hip, neck, colour))
    for _, paint in sorted(parts, key=lambda part: part[0]):
        paint()


def _leg(
    draw: ImageDraw.ImageDraw, shared: Shared, view: View, side: int, swing: float, hips: float, hip: float,
    colour: Callable[[str], Colour],
) -> tuple[float, Callable[[], None]]:  # fmt: skip
    top = (side * hips * 0.5, 0.0, hip + 0.02)
    knee = (side * hips * 0.52, 0.11 * swing + 0.02, hip * 0.53)
    bend = max(0.0, -swing) * 0.09
    foot = (side * hips * 0.5, 0.17 * swing - bend, 0.035 + bend * 0.6)
    toe = (foot[0], foot[1] + 0.06, foot[2] - 0.012)
    thick = 0.047 * shared.build

    def paint() -> None:
        cover = {"shorts": 0.42, "skirt": 0.0, "long skirt": 0.0}.get(shared.bottom, 1.0)
        wide = 1.35 if shared.bottom == "wide trousers" else 1.0
        limb(draw, view, [top, knee, foot], thick * 0.78, thick * 0.55, colour("skin"))
        if cover == 1.0:
            limb(draw, view, [top, knee, foot], thick, thick * 0.72 * wide, colour("bottom"))
        elif cover:
            limb(draw, view, [top, between(top, knee, 0.85)], thick * 1.08, thick * 1.08, colour("bottom"))
        if cover == 1.0 and shared.leg_pattern != "plain":
            mark = scaled(colour("bottom"), shared.leg_contrast)
            if shared.leg_pattern == "side stripe":
                limb(draw, view, [top, knee, foot], thick * 0.26, thick * 0.26, mark)
            elif shared.leg_pattern == "knee patch":
                limb(draw, view, [between(top, knee, 0.75), between(knee, foot, 0.3)], thick * 0.85, thick * 0.8, mark)
            else:
                for at in (0.15, 0.45, 0.75):
                    ring = [between(knee, foot, at), between(knee, foot, at + 0.13)]
                    limb(draw, view, ring, thick * 0.85 * wide, thick * 0.8 * wide, mark)
        limb(draw, view, [foot, toe], thick * 0.62, thick * 0.5, colour("shoes"))

    return view.depth(knee) - 1.0, paint  # clothes on the torso hang over both legs


def _arm(
    draw: ImageDraw.ImageDraw, shared: Shared, view: View, side: int, swing: float, width: float, neck: float,
    colour: Callable[[str], Colour],
) -> tuple[float, Callable[[], None]]:  # fmt: skip
    shoulder = (side * width, 0.0, neck - 0.035)
    elbow = (side * (width + 0.018), 0.07 * swing - 0.015, neck - 0.19)
    hand = (side * (width + 0.012), 0.15 * swing + 0.035, neck - 0.335)
    thick = 0.031 * shared.build**0.7

    def paint() -> None:
        limb(draw, view, [shoulder, elbow, hand], thick * 0.85, thick * 0.7, colour("skin"))
        sleeve = scaled(colour("top"), 0.9)
        if shared.top in ("jacket", "coat", "shirt"):
            limb(draw, view, [shoulder, elbow, between(elbow, hand, 0.85)], thick * 1.1, thick * 0.95, sleeve)
        elif shared.top == "t-shirt":
            limb(draw, view, [shoulder, between(shoulder, elbow, 0.75)], thick * 1.15, thick * 1.1, sleeve)

    return view.depth(elbow), paint


def _torso(
    image: Image.Image, draw: ImageDraw.ImageDraw, shared: Shared, view: View, width: float, hips: float, hip: float,
    neck: float, colour: Callable[[str], Colour],
) -> None:  # fmt: skip
    x, _ = view.place((0, 0, 0))
    depth = 0.07 * shared.build

    def level(up: float, lateral: float, forward: float) -> tuple[float, float, float]:
        half = view.half_width(lateral, forward)
        return x - half, x + half, view.y - up * view.height

    hem = {"coat": hip - 0.17, "jacket": hip - 0.035}.get(shared.top, hip - 0.01)
    flare = 1.25 if shared.top == "coat" else 1.08
    if shared.bottom in ("skirt", "long skirt"):
        end = hip * (0.55 if shared.bottom == "skirt" else 0.2)
        waist, edge = level(hip + 0.05, hips * 0.95, depth), level(end, hips * 1.5, depth * 1.6)
        outline = [(waist[0], waist[2]), (waist[1], waist[2]), (edge[1], edge[2]), (edge[0], edge[2])]
        draw.polygon(outline, fill=colour("bottom"))
        if shared.leg_pattern != "plain":
            _weave(image, outline, "rings", 4, colour("bottom"), shared.leg_contrast)
    else:
        belt, seat = level(hip + 0.06, hips, depth), level(hip - 0.03, hips * 1.05, depth)
        draw.polygon([(belt[0], belt[2]), (belt[1], belt[2]), (seat[1], seat[2]), (seat[0], seat[2])], colour("bottom"))
    throat = level(neck + 0.03, 0.03, 0.03)
    rows = [
        level(neck - 0.005, width * 0.55, depth * 0.7),
        level(neck - 0.035, width * 1.02, depth * 0.9),
        level(neck - 0.16, width * 0.95, depth * 1.05),
        level(hip + 0.08, hips * 1.0, depth),
        level(hem, hips * flare, depth * flare),
    ]
    draw.rectangle((throat[0], throat[2], throat[1], rows[0][2] + 1), fill=scaled(colour("skin"), 0.88))
    outline = [(left, y) for left, _, y in rows] + [(right, y) for _, right, y in reversed(rows)]
    draw.polygon(outline, fill=colour("top"))
    if shared.top_pattern != "plain":
        _weave(image, outline, shared.top_pattern, shared.top_scale, colour("top"), shared.top_contrast)
    if shared.top in ("jacket", "coat") and math.cos(view.heading) > 0.2:
        middle = x + 0.02 * view.height * math.sin(view.heading)
        draw.line((middle, rows[0][2], middle, rows[-1][2]), fill=scaled(colour("top"), 0.6), width=2)


def _head(draw: ImageDraw.ImageDraw, shared: Shared, view: View, neck: float, colour: Callable[[str], Colour]) -> None:
    x, y = view.place((0, 0.015, neck + 0.095))
    half, tall = 0.042 * view.height, 0.062 * view.height
    facing = math.cos(view.heading)
    ahead = math.sin(view.heading)
    hair = colour("hair")
    if shared.hair == "long":
        draw.rounded_rectangle((x - half * 1.15, y - tall, x + half * 1.15, y + tall * 1.7), half * 0.8, fill=hair)
    if shared.hair == "curly":
        draw.ellipse((x - half * 1.6, y - tall * 1.35, x + half * 1.6, y + tall * 0.6), fill=hair)
    if shared.hair == "long" and facing > -0.25:  # it falls behind the neck
        throat = x + ahead * half * 0.5
        draw.rectangle(
            (throat - half * 0.6, y, throat + half * 0.6, y + tall * 1.75), fill=scaled(colour("skin"), 0.88)
        )
    draw.ellipse((x - half, y - tall, x + half, y + tall), fill=colour("skin"))
    if shared.hair != "bald":
        if facing < -0.25:
            draw.ellipse((x - half, y - tall * 1.05, x + half, y + tall * 0.75), fill=hair)
        else:
            draw.pieslice((x - half * 1.05, y - tall * 1.1, x + half * 1.05, y + tall * 0.9), 180, 360, fill=hair)
            back = x - ahead * half * 0.65
            draw.ellipse((back - half * 0.6, y - tall, back + half * 0.6, y + tall * 0.35), fill=hair)
            front = x + ahead * half * 0.5
            draw.ellipse(
                (front - half * 0.62, y - tall * 0.35, front + half * 0.62, y + tall * 0.92), fill=colour("skin")
            )
    if shared.hair == "bun":
        at = x - ahead * half * 1.1
        draw.ellipse((at - half * 0.55, y - tall * 1.6, at + half * 0.55, y - tall * 0.75), fill=hair)
    if facing > 0.3:
        eye = scaled(colour("skin"), 0.5)
        for offset in (-0.38, 0.38):
            cx = x + (offset * facing + 0.45 * ahead) * half
            draw.ellipse((cx - half * 0.13, y - tall * 0.1, cx + half * 0.13, y + tall * 0.08), fill=eye)
    if shared.hat != "none":
        hat = colour("hat")
        draw.pieslice((x - half * 1.18, y - tall * 1.3, x + half * 1.18, y + tall * 0.5), 180, 360, fill=hat)
        edge = y - tall * 0.4
        if shared.hat == "cap":
            tip = x + ahead * half * 2.0
            draw.rectangle((min(x, tip), edge - tall * 0.12, max(x, tip) + half * 0.3, edge + tall * 0.12), fill=hat)
        elif shared.hat == "brim":
            draw.ellipse((x - half * 2.1, edge - tall * 0.2, x + half * 2.1, edge + tall * 0.25), fill=hat)
        else:
            draw.rectangle((x - half * 1.15, edge - tall * 0.2, x + half * 1.15, edge + tall * 0.18), scaled(hat, 0.7))


def _bag(
    draw: ImageDraw.ImageDraw, shared: Shared, view: View, width: float, hips: float, hip: float, neck: float,
    colour: Callable[[str], Colour],
) -> tuple[float, Callable[[], None]]:  # fmt: skip
    centre, half, tall = {
        "backpack": ((0.0, -0.12, (neck + hip) / 2 + 0.05), (0.085, 0.05), 0.125),
        "shoulder bag": ((hips + 0.05, -0.02, hip + 0.02), (0.03, 0.075), 0.07),
        "handbag": ((-(width + 0.03), 0.03, neck - 0.43), (0.025, 0.06), 0.05),
    }[shared.bag]

    def paint() -> None:
        x, y = view.place(centre)
        across, up = view.half_width(*half), tall * view.height
        bag = colour("bag")
        if shared.bag == "backpack" and math.cos(view.heading) > 0:
            for side in (-1, 1):
                limb(draw, view, [(side * width * 0.6, 0.05, neck - 0.01), (side * width * 0.62, 0.06, neck - 0.2)],
                     0.013, 0.013, bag)  # fmt: skip
        if shared.bag == "shoulder bag":
            limb(
                draw, view, [(-width * 0.7, 0.03, neck - 0.01), (centre[0], 0.03, centre[2] + 0.04)], 0.011, 0.011, bag
            )
        if shared.bag == "handbag":
            limb(draw, view, [(centre[0], centre[1], neck - 0.33), centre], 0.008, 0.008, bag)
        draw.rounded_rectangle((x - across, y - up, x + across, y + up), min(across, up) * 0.4, fill=bag)
        draw.line((x - across * 0.7, y, x + across * 0.7, y), fill=scaled(bag, 0.6), width=2)

    if shared.bag == "backpack":
        behind = math.cos(view.heading) > 0
        # Facing the camera, its straps cross the chest and the bag shows on both sides: the torso hides the rest.
        return (-0.5 if behind and abs(math.sin(view.heading)) < 0.5 else 0.02 if not behind else -0.04), paint
    return view.depth(centre) + 0.03, paint


def _weave(
    image: Image.Image, outline: list[tuple[float, float]], pattern: str, scale: int, base: Colour, contrast: float
) -> None:
    """Draw a pattern over the polygon `outline`, in coordinates of its bounding box."""
    left, right = int(min(x for x, _ in outline)), int(max(x for x, _ in outline)) + 1
    top, bottom = int(min(y for _, y in outline)), int(max(y for _, y in outline)) + 1
    width, height = max(right - left, 1), max(bottom - top, 1)
    v = (np.arange(height) + 0.5)[:, None] / height
    u = (np.arange(width) + 0.5)[None, :] / width
    rings, bars = np.floor(v * scale * 2) % 2 == 1, np.floor(u * scale * 1.5) % 2 == 1
    marks = {
        "rings": rings & (u >= 0),
        "bars": bars & (v >= 0),
        "checks": rings ^ bars,
        "chest band": (v > 0.3) & (v < 0.3 + 0.07 * scale) & (u >= 0),
        "logo": (np.abs(v - 0.36) < 0.04 * scale) & (np.abs(u - 0.5) < 0.07 * scale),
        "two-tone": (v > 0.25 + 0.1 * scale) & (u >= 0),
    }[pattern]
    inside = Image.new("1", (width, height))
    ImageDraw.Draw(inside).polygon([(x - left, y - top) for x, y in outline], fill=1)
    image.paste(scaled(base, contrast), (left, top), Image.fromarray(np.asarray(inside) & marks))
