"""A contact sheet: one row per identity, one column per camera."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image, ImageDraw

from crossreid.data.picture_rows import refuse_other_names, save_sheet
from crossreid.data.records import DataError


def contact_sheet(root: Path, out: Path, *, identities: int = 8, height: int = 192) -> Path:
    """Draw the first images of the first `identities` of the world at `root` into `out` (PNG or JPEG)."""
    table = Path(root) / "factors.csv"
    if not table.is_file():
        raise DataError(f"{table} not found. Expected a folder that `crossreid synth` wrote.")
    refuse_other_names(Path(out))
    cells: dict[tuple[str, str], Path] = {}
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            cells.setdefault((row["identity"], f"{int(row['camera'])} {row['modality']}"), Path(root) / row["path"])
    rows = list(dict.fromkeys(identity for identity, _ in cells))[:identities]
    columns = sorted({column for _, column in cells})
    with Image.open(next(iter(cells.values()))) as image:
        width = round(height * image.width / image.height)
    header, gap = 20, 4
    sheet = Image.new("RGB", (len(columns) * (width + gap) + gap, len(rows) * (height + gap) + header), "white")
    pen = ImageDraw.Draw(sheet)
    for c, column in enumerate(columns):
        pen.text((gap + c * (width + gap), 4), f"camera {column}", fill="black")
        for r, identity in enumerate(rows):
            if (identity, column) in cells:
                with Image.open(cells[identity, column]) as image:
                    tile = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
                sheet.paste(tile, (gap + c * (width + gap), header + r * (height + gap)))
    save_sheet(sheet, Path(out))
    return out
