"""Several data sets as one to train on, with identities and cameras kept apart; each is still tested by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from crossreid.data.records import Record, Split, in_order
from crossreid.data.sources import SEVERAL


def joined(splits: Mapping[str, Split], root: Path) -> Split:
    """The splits of several sources, by their names, as one; `sources` of the result holds them as they were.

    An identity is called SOURCE:IDENTITY, so that two sources' identity 7 are two; cameras are counted on from source
    to source, and an unknown one, 0, stays unknown. What is tested is each source by itself, by its own protocol.
    """
    first_camera = 0
    parts: dict[str, list[Record]] = {"train": [], "query": [], "gallery": [], "validation": []}  # as `Split` has them
    for name, split in splits.items():
        highest = 0
        for part, kept in parts.items():
            records: Sequence[Record] = getattr(split, part)
            kept += [_of_source(record, name, first_camera) for record in records]
            highest = max(highest, *(record.camera for record in records), 0)
        first_camera += highest
    protocols = list(dict.fromkeys(split.protocol for split in splits.values()))
    train, query, gallery, validation = (tuple(in_order(records)) for records in parts.values())
    return Split(
        SEVERAL,
        root,
        protocols[0] if len(protocols) == 1 else SEVERAL,
        train,
        query,
        gallery,
        validation,
        notes=tuple(f"{name}: {note}" for name, split in splits.items() for note in split.notes),
        sources=tuple(splits.items()),
    )


def _of_source(record: Record, name: str, first_camera: int) -> Record:
    camera = record.camera and record.camera + first_camera
    return replace(record, identity=f"{name}:{record.identity}", camera=camera, source=name)
