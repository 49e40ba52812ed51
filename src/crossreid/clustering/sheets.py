"""Contact sheets of clusters: a row a cluster, the largest first, as many pages as are wanted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crossreid.clustering.crops import Crops
from crossreid.clustering.files_of_crops import FilesOfCrops
from crossreid.clustering.merging import members
from crossreid.data.images import load_image
from crossreid.data.records import DataError, Modality

ROWS, TILES = 12, 10  # clusters of a page, crops of a cluster
TILE, LINE, GAP = 112, 18, 4  # pixels
_RED, _GREY = (200, 30, 30), (120, 120, 120)


@dataclass(frozen=True, slots=True)
class _Row:
    title: str
    tiles: list[tuple[Image.Image, bool]]  # and whether its identity is another than that of most


def write_sheets(
    folder: Path, crops: Crops, labels: np.ndarray, files: FilesOfCrops, *, pages: int, min_size: int = 2
) -> list[Path]:
    """Write `001.jpg` and so on into `folder`, up to so many `pages`, of clusters of `min_size` crops or more; what was written.

    Crops are chosen from all over a cluster. Where identities are known, one that is not the cluster's most frequent is framed
    in red. Clusters none of whose chosen pictures can be read have no row.
    """
    written: list[Path] = []
    rows: list[_Row] = []
    for own in members(labels):
        if len(own) < min_size or len(written) >= pages:
            break  # clusters are numbered by size
        row = _row(crops, int(labels[own[0]]), own, files)
        if row.tiles:
            rows.append(row)
        if len(rows) == ROWS:
            written.append(_page(folder, len(written) + 1, rows))
            rows = []
    if rows and len(written) < pages:
        written.append(_page(folder, len(written) + 1, rows))
    return written


def _row(crops: Crops, label: int, own: np.ndarray, files: FilesOfCrops) -> _Row:
    known = Counter(name for row in own.tolist() if (name := crops.identities[row]) is not None)
    names = [f"{name} ({count})" for name, count in known.most_common(4)] + (["..."] if len(known) > 4 else [])
    cameras = len(set(crops.cameras[own].tolist()) - {0})
    title = f"cluster {label}: {len(own)} crops" + (f", {cameras} cameras" if cameras else "")
    title += f"; {', '.join(names)}" if names else ""
    chosen = own[np.unique(np.linspace(0, len(own) - 1, TILES).round().astype(int))]
    most = known.most_common(1)[0][0] if known else None
    tiles = [
        (picture, crops.identities[row] not in (None, most))
        for row in chosen.tolist()
        if (picture := _picture(row, files)) is not None
    ]
    return _Row(title, tiles)


def _picture(row: int, files: FilesOfCrops) -> Image.Image | None:
    record = files.record(row)
    if record is None:
        return None
    try:
        image = Image.fromarray(load_image(record, at_least=(TILE, TILE)))
    except (DataError, OSError):
        return None
    scale = TILE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    return image.convert("L").convert("RGB") if record.modality is Modality.INFRARED else image


def _page(folder: Path, number: int, rows: list[_Row]) -> Path:
    width = TILES * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, len(rows) * (LINE + TILE + 3 * GAP) + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for r, row in enumerate(rows):
        top = GAP + r * (LINE + TILE + 3 * GAP)
        pen.text((GAP, top), row.title, fill="black", font=font)
        for t, (picture, other) in enumerate(row.tiles):
            left = GAP + t * (TILE + GAP)
            corner = left + (TILE - picture.width) // 2, top + LINE + (TILE - picture.height) // 2
            sheet.paste(picture, corner)
            if other:
                ends = (corner[0] - 1, corner[1] - 1, corner[0] + picture.width, corner[1] + picture.height)
                pen.rectangle(ends, outline=_RED, width=3)
        pen.line((GAP, top + LINE + TILE + 2 * GAP, width - GAP, top + LINE + TILE + 2 * GAP), fill=_GREY)
    path = folder / f"{number:03}.jpg"
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=88)
    return path
