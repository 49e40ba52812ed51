"""Draws the still of docs/city.md: each camera of a filmed city once by day and once by night, with the boxes of the truth.

python docs/draw_city.py CITY FILE
"""

from __future__ import annotations

import colorsys
import sys
from collections import Counter
from pathlib import Path

import av
from PIL import Image, ImageDraw

from crossreid.evaluation.mot_rows import MotRows, read_mot_rows
from crossreid.files import read_json, replacing

COLUMNS = 3


def busiest(rows: MotRows, first: int, last: int) -> int:
    """The frame, from 1, with the most people; the first one where nobody is seen."""
    there = rows.frames[(rows.frames >= first) & (rows.frames <= last)]
    return Counter(there.tolist()).most_common(1)[0][0] if len(there) else first


def still(film: Path, rows: MotRows, frame: int, name: str) -> Image.Image:
    """A decoded frame with a box a person, whose colour is the same in every camera."""
    with av.open(str(film)) as opened:
        pictures = (picture for number, picture in enumerate(opened.decode(video=0), start=1) if number == frame)
        image = next(pictures).to_image()
    draw = ImageDraw.Draw(image)
    for at in (rows.frames == frame).nonzero()[0]:
        person = int(rows.identities[at])
        colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(person * 0.381966 % 1, 0.85, 1))
        left, top, right, bottom = rows.boxes[at]
        draw.rectangle((left - 1, top - 1, right, bottom), outline=colour, width=2)
        draw.text((left, max(0, top - 12)), str(person), fill=colour)
    draw.text((4, 2), name, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return image


def main(city: Path, out: Path) -> None:
    plan = read_json(city / "city.json")
    dusk, frames = round(plan["dusk"] * plan["rate"]), plan["frames"]
    height, width = plan["size"]
    lines = -(-len(plan["cameras"]) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, 2 * lines * height))
    for position, name in enumerate(plan["cameras"]):
        rows = read_mot_rows(city / "gt" / f"{name}.txt")
        for part, (first, last) in enumerate(((1, dusk * 2 // 3), (dusk + 1, frames))):
            image = still(city / "films" / f"{name}.mp4", rows, busiest(rows, first, last), name)
            sheet.paste(image, (position % COLUMNS * width, (position // COLUMNS + part * lines) * height))
    with replacing(out) as temporary:
        sheet.save(temporary, format="jpeg", quality=82, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
