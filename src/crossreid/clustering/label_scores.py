"""How well clusters agree with known identities: ARI, AMI, BCubed and pairwise precision, recall and F.

BCubed (Bagga and Baldwin, ACL 1998): of each image, the share of its cluster that is of its identity (precision) and the
share of its identity that is in its cluster (recall), averaged over images, the image itself included. Pairwise: the same of
pairs of different images. Both from the sparse table of how many images each cluster has of each identity, exactly. ARI and
AMI are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

MOST_CELLS = 25_000_000  # clusters times identities up to which AMI is computed: it looks at every one


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Scores over `images` whose identity is known, in [0, 1] (ARI and AMI may be below 0).

    `ami` is None where there are too many clusters and identities for it. Of pairs there may be none: their precision is 1
    where no two images are in one cluster, their recall where no two are of one identity.
    """

    images: int
    identities: int
    clusters: int
    ari: float
    ami: float | None
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)


def label_scores(clusters: np.ndarray, identities: Sequence[str | None]) -> LabelScores | None:
    """Scores of clusters `(N,)` against identities, N texts or None where unknown, which count for nothing; None without any."""
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    known = np.array([identity is not None for identity in identities], dtype=bool)
    if not known.any():
        return None
    found = np.unique(np.asarray(clusters)[known], return_inverse=True)[1].reshape(-1)
    names = np.array([identity for identity in identities if identity is not None], dtype=object)
    truth = np.unique(names.astype(np.str_), return_inverse=True)[1].reshape(-1)
    rows, columns = int(found.max()) + 1, int(truth.max()) + 1
    keys, cells = np.unique(found.astype(np.int64) * columns + truth, return_counts=True)
    sizes, persons = np.bincount(found), np.bincount(truth)
    squares = cells.astype(np.float64) ** 2
    precision = float((squares / sizes[keys // columns]).sum() / len(found))
    recall = float((squares / persons[keys % columns]).sum() / len(found))
    right = _pairs(cells)
    pair_precision = right / ours if (ours := _pairs(sizes)) else 1.0
    pair_recall = right / theirs if (theirs := _pairs(persons)) else 1.0
    return LabelScores(
        images=len(found), identities=columns, clusters=rows,
        ari=float(adjusted_rand_score(truth, found)),
        ami=float(adjusted_mutual_info_score(truth, found)) if rows * columns <= MOST_CELLS else None,
        bcubed_precision=precision, bcubed_recall=recall, bcubed_f=_harmonic(precision, recall),
        pairwise_precision=pair_precision, pairwise_recall=pair_recall, pairwise_f=_harmonic(pair_precision, pair_recall),
    )  # fmt: skip


def _pairs(counts: np.ndarray) -> int:
    """Pairs of different images in groups of so many, as a whole number without overflow up to a billion images."""
    counts = counts.astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
