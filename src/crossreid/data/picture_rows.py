"""Rows of small pictures, each row under a title: what contact sheets are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from crossreid.data.images import load_image
from crossreid.data.records import DataError, Modality, Record
from crossreid.files import replacing

TILES = 10  # pictures in a row
TILE, LINE, GAP = 112, 18, 4  # pixels
RED, BLUE = (200, 30, 30), (30, 90, 200)
_GREY, _LIGHT = (120, 120, 120), (230, 230, 230)


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, None if it cannot be read, and the colour of its frame, if it has one."""

    picture: Image.Image | None
    frame: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    tiles: Sequence[Tile]


def small_picture(record: Record) -> Image.Image | None:
    """Return the image of a record as it is read for training, reduced to a tile; infrared ones are grey.

    None if it cannot be read.
    """
    try:
        image = Image.fromarray(load_image(record, at_least=(TILE, TILE)))
    except (DataError, OSError):
        return None
    scale = TILE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    return image.convert("L").convert("RGB") if record.modality is Modality.INFRARED else image


def drawn_rows(rows: Sequence[Row]) -> Image.Image:
    """Return the rows as one image, with room for `TILES` tiles in each."""
    width, height = TILES * (TILE + GAP) + GAP, LINE + TILE + 3 * GAP
    sheet = Image.new("RGB", (width, len(rows) * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for r, row in enumerate(rows):
        top = GAP + r * height
        pen.text((GAP, top), row.title, fill="black", font=font)
        for t, tile in enumerate(row.tiles):
            picture = tile.picture or _unread(font)
            left = GAP + t * (TILE + GAP)
            corner = left + (TILE - picture.width) // 2, top + LINE + (TILE - picture.height) // 2
            sheet.paste(picture, corner)
            if tile.frame is not None:
                ends = (corner[0] - 1, corner[1] - 1, corner[0] + picture.width, corner[1] + picture.height)
                pen.rectangle(ends, outline=tile.frame, width=3)
        pen.line((GAP, top + LINE + TILE + 2 * GAP, width - GAP, top + LINE + TILE + 2 * GAP), fill=_GREY)
    return sheet


def refuse_other_names(out: Path) -> None:
    """Raise `DataError` if a sheet's name is not that of a PNG or a JPEG."""
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{out}: expected a name ending in .png or .jpg.")


def save_sheet(sheet: Image.Image, out: Path) -> None:
    """Write a sheet whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        sheet.save(temporary, quality=88)


def _unread(font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Image.Image:
    tile = Image.new("RGB", (TILE, TILE), _LIGHT)
    ImageDraw.Draw(tile).text((TILE // 2, TILE // 2), "cannot be read", fill=RED, font=font, anchor="mm")
    return tile
