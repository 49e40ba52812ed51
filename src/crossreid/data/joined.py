"""Join several data sets for training, with identities and cameras kept apart; each is still tested by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from crossreid.data.records import Record, Split, in_order
from crossreid.data.sources import SEVERAL


def joined(splits: Mapping[str, Split], root: Path) -> Split:
    """Join the splits of several sources, given by name; `sources` of the result holds them unchanged.

    An identity is named SOURCE:IDENTITY, so that identity 7 of two sources are two identities; camera numbers continue
    from source to source, and an unknown camera, 0, stays unknown. Tests run on each source by itself, by its own
    protocol.
    """
    first_camera = 0
    parts: dict[str, list[Record]] = {"train": [], "query": [], "gallery": [], "validation": []}  # as in `Split`
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
