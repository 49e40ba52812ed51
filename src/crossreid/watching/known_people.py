"""Who is known by name: the identities of a gallery, as candidates for a tracklet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.galleries.gallery import Gallery


@dataclass(slots=True)
class Named:
    """An identity of the gallery: the probability of its most similar entry, and of its entries found that say so, camera by number
    and time."""

    probability: float = -np.inf
    moments: list[tuple[int, float]] = field(default_factory=list)

    @property
    def compared(self) -> bool:
        """Whether any entry could be compared."""
        return bool(np.isfinite(self.probability))


class KnownPeople:
    """The identities of an open gallery; `count` of them, counted once. Entries without an identity are nobody's."""

    def __init__(self, gallery: Gallery, entries: int) -> None:
        self._gallery, self._entries = gallery, entries
        self.uncompared: set[str] = set()  # pairs of modalities that the calibration has no curve of
        names: set[str] = set()
        for part in gallery.batches():
            names.update(name for name in part.identities if name is not None)
        self.count = len(names)

    def find(self, embedding: np.ndarray, modality: Modality, calibration: Calibration) -> Mapping[str, Named]:
        """The identities of the entries nearest to an embedding `(D,)`, by name."""
        found: dict[str, Named] = defaultdict(Named)
        if not self.count:
            return found
        [matches] = self._gallery.search(embedding[None], self._entries)
        for entry, score in zip(matches.entries, matches.scores, strict=True):
            pair = pair_name(modality, entry.modality)
            if entry.identity is None:
                continue
            if pair not in calibration.curves:
                self.uncompared.add(pair)
                continue
            named = found[entry.identity]
            named.probability = max(
                named.probability, float(calibration.probability(np.array([score]), modality, entry.modality)[0])
            )
            if entry.camera and entry.time is not None:
                named.moments.append((entry.camera, entry.time))
        return found
