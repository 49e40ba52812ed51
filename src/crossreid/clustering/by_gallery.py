"""What a gallery gives to clustering and takes back: its index finds the nearest, its entries get the names of clusters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.neighbours import Search
from crossreid.data.records import Modality
from crossreid.files import short_digest
from crossreid.galleries.entries import Entries
from crossreid.galleries.filters import Filter
from crossreid.galleries.gallery import Gallery

_ASKED = 256  # entries that ask at once
_PART = 4096  # entries that are written at once


def searches_of(gallery: Gallery, crops: Crops) -> dict[int, Search]:
    """By modality of `crops`, which are the gallery's entries, its search among the entries of that modality, by its index."""
    rows = {name: row for row, name in enumerate(crops.ids)}
    known = np.unique(crops.modalities).tolist()

    def search(filter: Filter | None) -> Search:
        def find(asking: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            positions, cosines = np.full((len(asking), k), -1), np.zeros((len(asking), k), np.float32)
            for start in range(0, len(asking), _ASKED):
                for at, matches in enumerate(gallery.search(asking[start : start + _ASKED], k, filter), start):
                    positions[at, : len(matches.ids)] = [rows.get(name, -1) for name in matches.ids]
                    cosines[at, : len(matches.ids)] = matches.scores
            return positions, cosines

        return find

    return {value: search(Filter(modality=Modality(value)) if len(known) > 1 else None) for value in known}


def write_identities(
    gallery: Gallery, crops: Crops, labels: np.ndarray, min_size: int = 2, advance: Callable[..., object] | None = None
) -> tuple[int, int]:
    """Name the entries of clusters in which no entry has an identity; how many entries and how many clusters there were.

    Only clusters of `min_size` entries or more. Names hold a digest of the whole clustering, so that those of two never meet.
    Everything else that is kept of an entry stays, also when it was added. Entries that were deleted, or named, since `crops`
    were read are left as they are.
    """
    sizes = np.bincount(labels)
    named = {int(label) for label, name in zip(labels, crops.identities, strict=True) if name is not None}
    chosen = [row for row, label in enumerate(labels.tolist()) if sizes[label] >= min_size and label not in named]
    digest = short_digest([crops.model, crops.ids, labels.tolist()])
    written, clusters = 0, set()
    for start in range(0, len(chosen), _PART):
        part = chosen[start : start + _PART]
        entries = gallery.get([crops.ids[row] for row in part])
        kept = [
            (entry, int(labels[row]))
            for entry, row in zip(entries, part, strict=True)
            if entry is not None and entry.identity is None
        ]
        if kept:
            columns = Entries.kept(entry for entry, _ in kept)
            columns.identities = [f"cluster-{digest}-{label:06}" for _, label in kept]
            gallery.upsert(columns, model=gallery.model)
        written += len(kept)
        clusters |= {label for _, label in kept}
        if advance is not None:
            advance(len(part), len(chosen))
    return written, len(clusters)
