"""Scores per query and per identity: what means hide, and how two models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossreid.evaluation.features import Features
from crossreid.evaluation.measures import Ranking

# A query's part in a score: whether it is found by rank k, its average precision and its INP.
_NAMES = {
    "rank-1": "rank-1",
    "rank-5": "rank-5",
    "rank-10": "rank-10",
    "rank-20": "rank-20",
    "mAP": "AP",
    "mINP": "INP",
}


@dataclass(frozen=True, eq=False)
class QueryScores:
    """Q queries of one setting in T trials of one model.

    names `(Q,)` str, a path or the row among the features; identities `(Q,)` str; cameras `(Q,)` int64, 0 if unknown;
    first `(T, Q)` the rank that counts for CMC, 0 if the query has no match; average_precision and inverse_penalty `(T,
    Q)`, NaN then.
    """

    trials: tuple[int, ...]
    names: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    first: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def values(self, key: str) -> np.ndarray:
        """Return `(Q,)` float64: each query's mean `mAP`, `mINP` or `rank-K` over trials; NaN without a match."""
        if key in ("mAP", "mINP"):
            each = self.average_precision if key == "mAP" else self.inverse_penalty
        else:
            found = self.first <= int(key.removeprefix("rank-"))
            each = np.where(self.first > 0, found, np.nan)
        valid = (self.first > 0).sum(axis=0)
        total = np.where(self.first > 0, each, 0.0).sum(axis=0)
        return np.where(valid > 0, total / np.maximum(valid, 1), np.nan)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per query for JSON: fractions, and the ranks of the first correct match of all trials; null
        without a match.
        """
        columns = {name: self.values(key) for key, name in _NAMES.items()}
        return [
            {
                "query": str(self.names[q]),
                "identity": str(self.identities[q]),
                "camera": int(self.cameras[q]) or None,
                "first": [int(rank) or None for rank in self.first[:, q]],
                **{name: _number(values[q]) for name, values in columns.items()},
            }
            for q in range(len(self))
        ]

    def identity_rows(self) -> list[dict[str, Any]]:
        """Return a row per identity: means over its queries with a match, and how many have none; worst average
        precision first.
        """
        columns = {key: self.values(key) for key in _NAMES}
        found = []
        for identity in dict.fromkeys(self.identities.tolist()):
            own = self.identities == identity
            valid = own & ~np.isnan(columns["mAP"])
            means = {key: _number(values[valid].mean()) if valid.any() else None for key, values in columns.items()}
            found.append(
                {"identity": identity, "queries": int(valid.sum()), "skipped": int((own & ~valid).sum()), **means}
            )
        return sorted(found, key=lambda row: (row["mAP"] is None, row["mAP"] or 0.0))


def query_scores(features: Features, rows: np.ndarray, rankings: Mapping[int, Ranking]) -> QueryScores:
    """Return the scores of the queries `rows` of features, from their rankings by trial."""
    names = features.names[rows]
    return QueryScores(
        tuple(rankings),
        np.where(names == "", rows.astype(np.str_), names),
        features.identities[rows],
        features.cameras[rows],
        *(
            np.stack([getattr(ranking, name) for ranking in rankings.values()])
            for name in ("first", "average_precision", "inverse_penalty")
        ),
    )


def detailed(values: dict[str, Any], each: Sequence[QueryScores], *, queries: bool, identities: bool) -> dict[str, Any]:
    """Return a score's JSON with `per-query` or `per-identity` rows; for several models with their trials."""
    several = len(each) > 1
    for name, wanted, rows in (
        ("per-query", queries, QueryScores.rows),
        ("per-identity", identities, QueryScores.identity_rows),
    ):
        if wanted:
            values[name] = [({"trial": part.trials[0]} if several else {}) | row for part in each for row in rows(part)]
    return values


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
