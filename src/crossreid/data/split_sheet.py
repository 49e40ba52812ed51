"""A contact sheet of a data set: some identities of each part, as training will read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from crossreid.data.picture_rows import (
    BLUE,
    TILES,
    Row,
    Tile,
    drawn_rows,
    refuse_other_names,
    save_sheet,
    small_picture,
)
from crossreid.data.records import Modality, Record, Split

IDENTITIES = 4  # of each part
Item = TypeVar("Item")


def write_split_sheet(split: Split, out: Path, *, identities: int = IDENTITIES) -> Path:
    """Draw identities from all over each part of a split into `out` (PNG or JPEG), a row each; return `out`.

    A row shows up to 10 images: infrared ones at the left, visible ones at the right. Queries have a blue frame. Boxes
    are cut out, and pictures are upright.

    Raises:
        DataError: another kind of name.
    """
    refuse_other_names(out)
    queries = set(split.query)
    rows = [
        row
        for part, records in (("train", split.train), ("validation", split.validation), ("test", split.test))
        for row in _rows(part, records, identities, queries if part == "test" else ())
    ]
    save_sheet(drawn_rows(rows), out)
    return out


def _rows(part: str, records: Sequence[Record], most: int, queries: Container[Record]) -> list[Row]:
    by_identity: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_identity[record.identity].append(record)
    return [_row(part, own, queries) for own in _spread(list(by_identity.values()), most)]


def _row(part: str, own: Sequence[Record], queries: Container[Record]) -> Row:
    infrared, visible = (
        [record for record in own if record.modality is modality] for modality in (Modality.INFRARED, Modality.VISIBLE)
    )
    left = _spread(infrared, max(TILES // 2, TILES - len(visible)))
    shown = [*left, *_spread(visible, TILES - len(left))]
    asked = sum(record in queries for record in own)
    cameras = sorted({record.camera for record in own} - {0})
    facts = [f"{len(infrared)} infrared" if infrared else "", f"{len(visible)} visible" if visible else ""]
    facts += [f"{asked} queries (blue)" if asked else ""]
    facts += ["camera" + "s" * (len(cameras) > 1) + " " + ", ".join(map(str, cameras)) if cameras else ""]
    title = f"{part}, {own[0].identity}: {'; '.join(fact for fact in facts if fact)}"
    return Row(title, [Tile(small_picture(record), BLUE if record in queries else None) for record in shown])


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Up to `most` of the items, from all over them, in their order."""
    return [
        items[index] for index in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    ]
