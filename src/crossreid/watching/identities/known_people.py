"""Identities known by name: those of a gallery, as candidates for a tracklet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from crossreid.data.records import Modality
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.galleries.gallery import Gallery
from crossreid.watching.identities import posterior
from crossreid.watching.identities.matching_options import MatchingOptions


@dataclass(slots=True)
class Named:
    """A gallery identity: the log-ratios of its nearest entries, and their camera numbers and times, if stated.

    `total` and `count` are as in `Evidence`, over at most as many entries as tracklets of an identity.
    """

    ratios: list[float] = field(default_factory=list)
    moments: list[tuple[int, float]] = field(default_factory=list)
    total: float = 0.0
    count: int = 0


class KnownPeople:
    """The identities of an open gallery; `count` of them, counted once. Entries without an identity are ignored."""

    def __init__(self, gallery: Gallery, options: MatchingOptions) -> None:
        self._gallery, self._options = gallery, options
        self.uncompared: set[str] = set()  # pairs of modalities without a curve in the calibration
        self._entries: Counter[tuple[str, int]] = Counter()  # per name and modality
        for part in gallery.batches():
            self._entries.update(
                (name, modality)
                for name, modality in zip(part.identities, part.modalities.tolist(), strict=True)
                if name is not None
            )
        self.count = len({name for name, _ in self._entries})

    def find(self, embedding: np.ndarray, modality: Modality, calibration: Calibration) -> Mapping[str, Named]:
        """The identities of the entries nearest to an embedding `(D,)`, by name.

        An identity's entries beyond the nearest count as the farthest of these.
        """
        found: dict[str, Named] = defaultdict(Named)
        if not self.count:
            return found
        compared = [other for other in Modality if pair_name(modality, other) in calibration.curves]
        [matches] = self._gallery.search(embedding[None], self._options.gallery_entries)
        farthest = np.inf
        for entry, score in zip(matches.entries, matches.scores, strict=True):
            if entry.modality not in compared:
                self.uncompared.add(pair_name(modality, entry.modality))
                continue
            [ratio] = posterior.pair_ratios(
                np.array([score]), modality, entry.modality, calibration, self._options.largest_ratio
            ).tolist()
            farthest = min(farthest, ratio)
            if entry.identity is not None:
                found[entry.identity].ratios.append(ratio)
                if entry.camera and entry.time is not None:
                    found[entry.identity].moments.append((entry.camera, entry.time))
        for name, named in found.items():
            entries = sum(self._entries[name, int(other)] for other in compared)
            named.count = max(1, min(entries, self._options.tracks_per_identity))
            nearest = sorted(named.ratios, reverse=True)[: named.count]
            named.total = sum(nearest) + farthest * (named.count - len(nearest))
        return found
