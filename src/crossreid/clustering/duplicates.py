"""Near-duplicates: crops whose embeddings are all but equal, and what their pictures say of it.

Only pictures of such pairs are read. A pair is of the same `bytes`, has the same `look` (thumbnails that correlate as those that
`crossreid check` calls nearly the same), or is alike to the network alone (`embedding`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from crossreid.clustering.crops import Crops
from crossreid.clustering.files_of_crops import FilesOfCrops
from crossreid.clustering.neighbours import Search, nearest_of
from crossreid.data.leaks import ALIKE
from crossreid.data.looks import Look, look_at
from crossreid.files import sha256_of

COSINE = 0.99
MOST = 20_000  # pairs whose pictures are read
_NEAREST = 8

Kind = Literal["bytes", "look", "embedding"]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two crops by their rows, one < other: the cosine of their embeddings, the correlation of their thumbnails (None where a picture
    was not read), and what they have in common."""

    one: int
    other: int
    cosine: float
    correlation: float | None
    kind: Kind


def duplicates(
    crops: Crops, files: FilesOfCrops | None = None, cosine: float = COSINE, *,
    searches: Mapping[int, Search] | None = None,
) -> list[Duplicate]:  # fmt: skip
    """Pairs of crops from a cosine on, of which one is among the 8 nearest of the other; the most alike first.

    Without `files` no picture is read; nor beyond the 20,000 pairs that are most alike.
    """
    search = next(iter(searches.values())) if searches is not None and len(searches) == 1 else None
    pairs = nearest_of(crops.embeddings, _NEAREST, search=search)
    pairs = pairs.taken(pairs.cosines >= np.float32(cosine))
    order = np.lexsort((pairs.second, pairs.first, -pairs.cosines))
    looks = _Looks(files)
    found = []
    for number, at in enumerate(order.tolist()):
        one, other, likeness = int(pairs.first[at]), int(pairs.second[at]), float(pairs.cosines[at])
        correlation, kind = looks.compared(one, other, crops) if number < MOST else (None, "embedding")
        found.append(Duplicate(one, other, likeness, correlation, kind))
    return found


class _Looks:
    """Digests and thumbnails of pictures, each made once."""

    def __init__(self, files: FilesOfCrops | None) -> None:
        self._files = files
        self._digest = cache(sha256_of)
        self._look = cache(self._look_at)

    def compared(self, one: int, other: int, crops: Crops) -> tuple[float | None, Kind]:
        paths = (None, None) if self._files is None else (self._files.of(one), self._files.of(other))
        if paths[0] is None or paths[1] is None:
            return None, "embedding"
        try:
            same = paths[0] == paths[1] or self._digest(paths[0]) == self._digest(paths[1])
        except OSError:
            return None, "embedding"
        if same and crops.boxes[one] == crops.boxes[other]:
            return 1.0, "bytes"
        looks = self._look(one), self._look(other)
        if looks[0] is None or looks[1] is None:
            return None, "embedding"
        correlation = float(looks[0].thumbnail @ looks[1].thumbnail)
        return correlation, "look" if correlation >= ALIKE else "embedding"

    def _look_at(self, row: int) -> Look | None:
        record = None if self._files is None else self._files.record(row)
        look = None if record is None else look_at(record)
        return look if isinstance(look, Look) else None
