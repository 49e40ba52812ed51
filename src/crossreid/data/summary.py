"""Summary of a split data set, part by part: identities, images, modalities, cameras, images per identity, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.table import Table

from crossreid.data.records import Modality, Record, Split

Sizes = Mapping[Path, tuple[int, int]]


def summary_table(split: Split, sizes: Sizes | None = None) -> Table:
    """Return a row per fact and a column per part; sizes (width, height) of pictures or boxes, if known."""
    parts = {"train": split.train, "validation": split.validation, "query": split.query, "gallery": split.gallery}
    shown = {name: records for name, records in parts.items() if records}
    table = Table(title="what is in it", caption="three numbers are minimum, median and maximum")
    table.add_column("", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", overflow="fold")  # in a narrow terminal, figures are folded, not cut
    described = [facts(records, sizes or {}) for records in shown.values()]
    for fact in described[0] if described else ():
        values = [facts_of[fact] for facts_of in described]
        if any(values):
            table.add_row(fact, *values)
    return table


def facts(records: Sequence[Record], sizes: Sizes) -> dict[str, str]:
    """Return facts about some images, by name; '' if unknown."""
    counts = Counter(record.identity for record in records)
    cameras = {record.camera for record in records}
    unknown = sum(record.camera == 0 for record in records)
    by_modality = Counter(record.modality for record in records)
    known = cameras - {0}
    return {
        "identities": f"{len(counts):,}",
        "images": f"{len(records):,}",
        **{modality.name.lower(): f"{by_modality[modality]:,}" for modality in Modality},
        "cameras": "unknown" if not known else f"{len(known):,}" + (f"\nunknown of {unknown:,}" if unknown else ""),
        "images of each": _range(list(counts.values())),
        "identities of one image": f"{sum(count == 1 for count in counts.values()):,}",
        "tracklets": f"{len({(r.identity, r.camera, r.tracklet) for r in records if r.tracklet}) or ''}",
        "taken": _span([record.time for record in records if record.time is not None]),
        "widths, pixels": _range([size[0] for record in records if (size := _size(record, sizes))[0]]),
        "heights, pixels": _range([size[1] for record in records if (size := _size(record, sizes))[1]]),
    }


def _size(record: Record, sizes: Sizes) -> tuple[int, int]:
    if record.box is not None:
        left, top, right, bottom = record.box
        return right - left, bottom - top
    return sizes.get(record.file, (0, 0))


def _range(values: Sequence[int]) -> str:
    """Return `least/median/most`; one number if all are equal."""
    if not values:
        return ""
    least, most = min(values), max(values)
    return f"{least}" if least == most else f"{least}/{median(values):.0f}/{most}"


def _span(times: Sequence[float]) -> str:
    days = [datetime.fromtimestamp(time, UTC).date().isoformat() for time in (min(times), max(times))] if times else []
    return " to\n".join(dict.fromkeys(days))
