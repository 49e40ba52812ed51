"""Exact information measures of discrete distributions, to test the theory of variational distillation with.

A `Joint` is a table of probabilities whose axes have names; variables are given as names, several with spaces between:
`information(joint, "v1 v2", "y", given="z")` is I(v1 v2; y | z). Everything is in nats, and 0 log 0 is 0. Definitions:
Cover and Thomas, "Elements of Information Theory", chapter 2. Tables grow exponentially in the variables: this is for
small alphabets, not for data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossreid.errors import CrossreidError


@dataclass(frozen=True, eq=False)
class Joint:
    """Probabilities, one axis a name, all together 1. Raises `CrossreidError` for what is no distribution."""

    table: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        table = np.asarray(self.table, dtype=np.float64)
        if table.ndim != len(self.names) or len(set(self.names)) != len(self.names):
            raise CrossreidError(f"expected one name for each of {table.ndim} axes, each once, found {self.names}.")
        if not np.isfinite(table).all() or (table < 0).any() or not math.isclose(table.sum(), 1, abs_tol=1e-9):
            raise CrossreidError(f"expected probabilities that sum to 1, found a sum of {table.sum()}.")
        object.__setattr__(self, "table", table)

    def marginal(self, variables: str) -> np.ndarray:
        """The table of the named variables, axes in the order named. Raises `CrossreidError` for an unknown name."""
        wanted = variables.split()
        if unknown := [name for name in wanted if name not in self.names]:
            raise CrossreidError(f"no variable {', '.join(unknown)}; this distribution has {', '.join(self.names)}.")
        axes = [self.names.index(name) for name in wanted]
        rest = tuple(axis for axis in range(len(self.names)) if axis not in axes)
        summed = self.table.sum(axis=rest)
        kept = sorted(axes)
        return np.transpose(summed, [kept.index(axis) for axis in axes])


def entropy(joint: Joint, of: str, given: str = "") -> float:
    """H(of | given)."""
    known = _entropy(joint.marginal(given)) if given else 0.0
    return _entropy(joint.marginal(_union(of, given))) - known


def information(joint: Joint, one: str, two: str, given: str = "") -> float:
    """I(one; two | given)."""
    return entropy(joint, one, given) - entropy(joint, one, _union(two, given))


def prediction(joint: Joint, of: str, given: str) -> np.ndarray:
    """p(of | given), axes `given` then `of`; uniform where `given` never happens."""
    together = joint.marginal(f"{given} {of}")
    axes = tuple(range(len(given.split()), together.ndim))
    total = together.sum(axis=axes, keepdims=True)
    size = math.prod(together.shape[axis] for axis in axes)
    return np.where(total > 0, together / np.where(total > 0, total, 1), 1 / size)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D_KL(p || q) over the last axis; infinite where q is 0 and p is not."""
    p, q = np.broadcast_arrays(np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0)
    return terms.sum(axis=-1)


def js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D_JS(p || q) over the last axis; in [0, log 2]."""
    middle = (np.asarray(p, dtype=np.float64) + np.asarray(q, dtype=np.float64)) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


def entropy_difference_bound(divergence: float, outcomes: int) -> float:
    """How far the entropies of two distributions can be apart whose D_KL is at most `divergence`.

    Pinsker's inequality bounds their total variation by t = sqrt(D / 2); the entropies then differ by at most
    t log(K - 1) + h(t), h the binary entropy (Audenaert, J. Phys. A 2007; here for probabilities), and by log K.
    """
    t = min(math.sqrt(max(divergence, 0.0) / 2), 1 - 1 / outcomes)
    if t == 0 or outcomes == 1:
        return 0.0
    binary = -t * math.log(t) - (1 - t) * math.log1p(-t)
    return t * math.log(outcomes - 1) + binary


def sufficiency_gap_bound(distilled: float, error: float, largest_ratio: float) -> float:
    """What H(y|z) - H(y|v) can be at most when predictions q_v, q_z are not the true posteriors.

    Args:
        distilled: E D_KL(q_v || q_z), what VSD minimises.
        error: E D_KL(p(y|v) || q_v), what the classifier of v has yet to learn.
        largest_ratio: the largest |log q_v(y) - log q_z(y)|.

    The derivation is in docs/variational_distillation.md; without error the bound is VSD's own value.
    """
    return distilled + error + largest_ratio * math.sqrt(2 * max(error, 0.0)) if error > 0 else distilled


def _entropy(table: np.ndarray) -> float:
    positive = table[table > 0]
    return float(-(positive * np.log(positive)).sum())


def _union(one: str, two: str) -> str:
    return " ".join(dict.fromkeys([*one.split(), *two.split()]))
