"""The candidate identities of a tracklet, in memory: embeddings of their latest tracklets, and where they were seen.

It holds only content of the state, so a watch that was killed decides as if it had not been: the latest few tracklets
of an identity per modality, and its presences. Identities not seen for too long are left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from crossreid.data.records import DataError, Modality
from crossreid.evaluation.calibration import Calibration, pair_name
from crossreid.watching.identities import posterior
from crossreid.watching.identities.columns import Columns
from crossreid.watching.identities.database import Database
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.topology import Limits, Presences, Topology
from crossreid.watching.identities.track_rows import unpacked

_DIGITS = 9  # of a cosine are kept, so that the order of summation does not matter


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """Identities `(n,)` ascending, the sum `(n,)` of their images' log-likelihood ratios, and the number `(n,)` of
    compared images, 1 or more; `remembered` `(N,)`: all identities with an image."""

    identities: np.ndarray
    totals: np.ndarray
    counts: np.ndarray
    remembered: np.ndarray


class Candidates:
    """The known identities. Call `refresh` after anything about an identity has changed in the state."""

    def __init__(self, database: Database, options: MatchingOptions, topology: Topology) -> None:
        self._database, self._options, self._topology = database, options, topology
        self.uncompared: set[str] = set()  # pairs of modalities without a curve in the calibration
        self.reload()

    def reload(self) -> None:
        """Reread everything."""
        self._vectors = Columns(track="i8", identity="i8", modality="i8", last="f8")
        self._matrix = np.zeros((0, 0), dtype=np.float32)
        self._presences = Columns(row="i8", identity="i8", camera="i8", first="f8", last="f8")
        self._of: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        self._codes: dict[str, int] = {}
        self._limits = Limits(self._topology, [])
        self.clock = -math.inf
        found = self._database.read("SELECT value FROM meta WHERE key = 'clock'")
        if found:
            self.clock = float(found[0][0])
            rows = self._database.read("SELECT DISTINCT identity FROM tracks WHERE last >= ?", (self.horizon,))
            for (identity,) in sorted(rows):
                self.refresh(identity)

    @property
    def horizon(self) -> float:
        """Identities last seen before this time are no longer matched."""
        return self.clock - 3600 * self._options.forget_after

    @property
    def size(self) -> int:
        """The number of embeddings held."""
        return int(self._vectors.live.sum())

    def tick(self, time: float) -> bool:
        """Advance the clock to `time` and drop identities not seen for too long; returns whether it advanced."""
        if time <= self.clock:
            return False
        self.clock = time
        for table in (self._vectors, self._presences):
            old = table.live & (table["last"] < self.horizon)
            for identity in np.unique(table["identity"][old]).tolist():
                self.refresh(identity)
        return True

    def refresh(self, identity: int) -> None:
        """Reread an identity."""
        vectors, presences = self._of.pop(identity, ([], []))
        for position in vectors:
            self._vectors.remove(position)
        for position in presences:
            self._presences.remove(position)
        kept = []
        for modality in Modality:
            kept += self._database.read(
                "SELECT row, modality, last, embedding FROM tracks WHERE identity = ? AND modality = ? "
                "ORDER BY first DESC, row DESC LIMIT ?",
                (identity, int(modality), self._options.tracks_per_identity),
            )
        for row, modality, last, content in kept:
            if last >= self.horizon:
                position = self._vectors.add(track=row, identity=identity, modality=modality, last=last)
                self._set(position, unpacked(content))
                self._of[identity][0].append(position)
        if identity not in self._of:
            return
        for row, camera, first, last in self._database.read(
            "SELECT row, camera, first, last FROM presences WHERE identity = ? AND last >= ?", (identity, self.horizon)
        ):
            position = self._presences.add(row=row, identity=identity, camera=self.code(camera), first=first, last=last)
            self._of[identity][1].append(position)

    def _set(self, position: int, embedding: np.ndarray) -> None:
        if not len(self._matrix):
            self._matrix = np.zeros((64, len(embedding)), dtype=np.float32)
        if position >= len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
        if len(embedding) != self._matrix.shape[1]:
            raise DataError(
                f"expected embeddings of {self._matrix.shape[1]} dimensions as in the state, found {len(embedding)}; watch into a "
                "new folder with another model."
            )
        self._matrix[position] = embedding

    def code(self, camera: str) -> int:
        """The in-memory number of a camera."""
        if camera not in self._codes:
            self._codes[camera] = len(self._codes)
            self._limits = Limits(self._topology, list(self._codes), self._options.absent_after)
        return self._codes[camera]

    def evidence(
        self, embedding: np.ndarray, modality: Modality, calibration: Calibration, ignored: Collection[int]
    ) -> Evidence:
        """The most likely identities for an embedding `(D,)`, from tracklets that are not `ignored` (row numbers)."""
        rows = np.flatnonzero(self._vectors.live)
        rows = rows[np.isin(self._vectors["track"][rows], list(ignored), invert=True)]
        if not len(rows):
            return Evidence(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64))
        if embedding.shape != self._matrix.shape[1:]:
            raise DataError(
                f"expected an embedding of {self._matrix.shape[1]} dimensions, found shape {embedding.shape}."
            )
        scores = (self._matrix[: self._vectors.used] @ embedding.astype(np.float32))[rows]
        known, group = np.unique(self._vectors["identity"][rows], return_inverse=True)
        totals, counts = self._totals(scores, rows, group, len(known), modality, calibration)
        nearest = np.full(len(known), -np.inf)
        np.maximum.at(nearest, group, scores)
        likeliest = np.lexsort((known, -nearest, -posterior.pooled(totals, np.maximum(counts, 1))))
        chosen = np.sort(likeliest[: self._options.candidates])
        compete = np.zeros(len(known), dtype=bool)
        compete[chosen] = True
        inside = compete[group]
        rows, group = rows[inside], np.searchsorted(chosen, group[inside])
        # So that the same numbers are added in the same order, wherever they are stored.
        order = np.lexsort((self._vectors["track"][rows], group))
        rows, group = rows[order], group[order]
        exact = np.einsum("nd,d->n", self._matrix[rows].astype(np.float64), embedding.astype(np.float64))
        totals, counts = self._totals(np.round(exact, _DIGITS), rows, group, len(chosen), modality, calibration)
        compared = counts > 0
        return Evidence(known[chosen][compared], totals[compared], counts[compared], known)

    def _totals(
        self,
        scores: np.ndarray,
        rows: np.ndarray,
        group: np.ndarray,
        count: int,
        modality: Modality,
        calibration: Calibration,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The sum of log-ratios per group, and how many were compared."""
        ratios, compared = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
        for other in Modality:
            which = self._vectors["modality"][rows] == int(other)
            if not which.any():
                continue
            if pair_name(modality, other) not in calibration.curves:
                self.uncompared.add(pair_name(modality, other))
                continue
            ratios[which] = posterior.pair_ratios(
                scores[which], modality, other, calibration, self._options.largest_ratio
            )
            compared |= which
        return (
            np.bincount(group, weights=ratios, minlength=count),
            np.bincount(group, weights=compared, minlength=count),
        )

    def impossible(self, camera: str, start: float, end: float, ignored: Collection[int]) -> set[int]:
        """The remembered identities that topology rules out for this camera and time; `ignored` are presences."""
        code = self.code(camera)
        everybody = np.array(sorted(self._of), dtype=np.int64)
        if not len(everybody):
            return set()
        rows = np.flatnonzero(self._presences.live)
        rows = rows[np.isin(self._presences["row"][rows], list(ignored), invert=True)]
        groups = np.searchsorted(everybody, self._presences["identity"][rows])
        cameras, first, last = (self._presences[name][rows] for name in ("camera", "first", "last"))
        seen = Presences(cameras, first, last, groups)
        return set(everybody[~self._limits.possible(seen, len(everybody), code, start, end)].tolist())

    def possible_after(self, moments: Sequence[tuple[str, float]], camera: str, start: float, end: float) -> bool:
        """Whether someone seen by these cameras at these times can be seen by `camera` from `start` to `end`."""
        codes = np.array([self.code(name) for name, _ in moments], dtype=np.int64)
        code, times = self.code(camera), np.array([time for _, time in moments])
        seen = Presences(codes, times, times, np.zeros(len(codes), dtype=np.int64))
        return bool(self._limits.possible(seen, 1, code, start, end)[0])

    def could_be_one(self, one: int, other: int) -> bool:
        """Whether all presences of two identities, including those no longer in memory, can belong to one person."""
        rows = self._database.read(
            "SELECT identity, camera, first, last FROM presences WHERE identity IN (?, ?) ORDER BY row", (one, other)
        )
        identities = np.array([row[0] for row in rows])
        cameras = np.array([self.code(row[1]) for row in rows])
        first, last = np.array([row[2:] for row in rows]).reshape(-1, 2).T
        fewer = one if (identities == one).sum() <= (identities == other).sum() else other
        for at in np.flatnonzero(identities == fewer):
            rest = np.arange(len(rows)) != at
            seen = Presences(cameras[rest], first[rest], last[rest], np.zeros(len(rows) - 1, dtype=np.int64))
            if not self._limits.possible(seen, 1, int(cameras[at]), float(first[at]), float(last[at]))[0]:
                return False
        return True
