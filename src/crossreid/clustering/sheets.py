"""Contact sheets of clusters: a row a cluster, the largest first, as many pages as are wanted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.files_of_crops import FilesOfCrops
from crossreid.clustering.merging import members
from crossreid.data.picture_rows import RED, TILES, Row, Tile, drawn_rows, save_sheet, small_picture

ROWS = 12  # clusters of a page


def write_sheets(
    folder: Path, crops: Crops, labels: np.ndarray, files: FilesOfCrops, *, pages: int, min_size: int = 2
) -> list[Path]:
    """Write `001.jpg` and so on into `folder`, up to so many `pages`, of clusters of `min_size` crops or more; what was written.

    Crops are chosen from all over a cluster. Where identities are known, one that is not the cluster's most frequent is framed
    in red. Clusters none of whose chosen pictures can be read have no row.
    """
    written: list[Path] = []
    rows: list[Row] = []
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


def _row(crops: Crops, label: int, own: np.ndarray, files: FilesOfCrops) -> Row:
    known = Counter(name for row in own.tolist() if (name := crops.identities[row]) is not None)
    names = [f"{name} ({count})" for name, count in known.most_common(4)] + (["..."] if len(known) > 4 else [])
    cameras = len(set(crops.cameras[own].tolist()) - {0})
    title = f"cluster {label}: {len(own)} crops" + (f", {cameras} cameras" if cameras else "")
    title += f"; {', '.join(names)}" if names else ""
    chosen = own[np.unique(np.linspace(0, len(own) - 1, TILES).round().astype(int))]
    most = known.most_common(1)[0][0] if known else None
    tiles = [
        Tile(picture, RED if crops.identities[row] not in (None, most) else None)
        for row in chosen.tolist()
        if (record := files.record(row)) is not None and (picture := small_picture(record)) is not None
    ]
    return Row(title, tiles)


def _page(folder: Path, number: int, rows: list[Row]) -> Path:
    path = folder / f"{number:03}.jpg"
    save_sheet(drawn_rows(rows), path)
    return path
