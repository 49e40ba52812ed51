"""The study of mutual-information estimators where the truth is known: correlated Gaussians.

Poole et al., "On Variational Bounds of Mutual Information", ICML 2019, section 3. v and z are standard Gaussians with D
coordinates, correlated pair by pair; I(v; z) = -D/2 log(1 - rho^2). A critic is trained on fresh samples with the
estimator's own objective, then its estimate is averaged over fresh batches. No run is trained: estimators.json holds
one estimate per critic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor

from crossreid.files import read_json, write_json
from crossreid.losses.information import ESTIMATORS, Estimator, MutualInformation, correlation_for
from crossreid.models.critic import Critic
from crossreid.terminal import tracked

VALUES = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
DIMENSIONS = (4, 32)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One trained critic: the truth and the estimate in nats, and the spread of the estimate from batch to batch."""

    estimator: Estimator
    dimension: int
    truth: float
    seed: int
    batch: int
    steps: int
    nats: float
    spread: float

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def gaussian_pairs(count: int, dimension: int, information: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return `count` pairs (v, z), each `(count, D)`, whose mutual information is `information` nats."""
    correlation = correlation_for(information, dimension)
    v, noise = torch.randn(2, count, dimension, generator=generator)
    return v, correlation * v + (1 - correlation**2) ** 0.5 * noise


def estimate(
    estimator: Estimator,
    dimension: int,
    information: float,
    *,
    seed: int = 0,
    batch: int = 64,
    steps: int = 2000,
    hidden: int = 64,
    tests: int = 100,
) -> Estimate:
    """Train a critic for `steps` batches and average its estimate over `tests` fresh ones; deterministic in `seed`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic, bound = Critic(dimension, dimension, hidden), MutualInformation(estimator)
    optimiser = torch.optim.Adam(critic.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        loss = -bound(critic(*gaussian_pairs(batch, dimension, information, generator))).objective
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    bound.eval()
    with torch.no_grad():
        found = [
            bound(critic(*gaussian_pairs(batch, dimension, information, generator))).nats.item() for _ in range(tests)
        ]
    values = np.array(found)
    return Estimate(estimator, dimension, information, seed, batch, steps, float(values.mean()), float(values.std()))


def grid(
    seeds: Sequence[int], values: Sequence[float] = VALUES, dimensions: Sequence[int] = DIMENSIONS
) -> list[tuple[Estimator, int, float, int]]:
    """Return every (estimator, dimension, truth, seed), with the first seed of all first."""
    return [
        (kind, size, value, seed) for seed in seeds for kind in ESTIMATORS for size in dimensions for value in values
    ]


def run_estimators(
    out: Path, *, seeds: Sequence[int], jobs: int = 1, steps: int = 2000, values: Sequence[float] = VALUES
) -> list[dict[str, Any]]:
    """Train the missing critics of every estimator, write estimators.json after each, and return its rows."""
    path = out / "estimators.json"
    rows: list[dict[str, Any]] = read_json(path)["estimates"] if path.is_file() else []
    done = {(r["estimator"], r["dimension"], r["truth"], r["seed"]) for r in rows if r["steps"] == steps}
    rows = [row for row in rows if row["steps"] == steps]
    missing = [cell for cell in grid(seeds, values) if cell not in done]
    found = Parallel(jobs, return_as="generator")(
        delayed(_estimated)(kind, size, value, seed, steps) for kind, size, value, seed in missing
    )
    for row in tracked(found, "critics", len(missing)):
        rows.append(row.to_json())
        write_json(path, {"estimates": rows})
    return rows


def _estimated(kind: Estimator, size: int, value: float, seed: int, steps: int) -> Estimate:
    torch.set_num_threads(1)  # batches are small: another thread costs more than it saves
    return estimate(kind, size, value, seed=seed, steps=steps)
