"""P x K sampling: P identities a batch, K images of each, half of them of either modality.

An epoch's plan depends on (seed, epoch) alone. Every process makes the same plan and takes its own identities of each
batch, so the batches of several processes, joined in process order, are those of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from crossreid.data.records import DataError, Modality, Record, labels_of
from crossreid.errors import CrossreidError
from crossreid.options import Options


class SamplerOptions(Options):
    identities: int = Field(16, ge=2, description="P, identities a batch, over all processes.")
    images: int = Field(8, ge=2, description="K, images of each identity in a batch.")
    balance: Literal["modality", "none"] = Field(
        "modality", description="`modality`: K/2 visible and K/2 infrared images; `none`: any K images."
    )

    @model_validator(mode="after")
    def _even(self) -> SamplerOptions:
        if self.balance == "modality" and self.images % 2:
            raise CrossreidError(f"images is {self.images}, expected an even number to split between the modalities")
        return self


class IdentitySampler:
    """Plans batches of record indices for `records`.

    Within an epoch an identity's images of a modality are drawn without replacement, and reshuffled once all were used.
    An identity that lacks a modality cannot be balanced and is left out: `left_out` names those.

    Raises:
        DataError: fewer usable identities than P, or P that the processes cannot share evenly.
    """

    def __init__(
        self, records: Sequence[Record], options: SamplerOptions, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.options, self.seed, self.rank, self.world = options, seed, rank, world
        groups: dict[str, dict[int, list[int]]] = {identity: {} for identity in labels_of(records)}
        for index, record in enumerate(records):
            group = int(record.modality) if options.balance == "modality" else 0
            groups[record.identity].setdefault(group, []).append(index)
        needed = len(Modality) if options.balance == "modality" else 1
        self.left_out = tuple(identity for identity, parts in groups.items() if len(parts) < needed)
        self.groups = [
            [np.array(parts[kind]) for kind in sorted(parts)] for parts in groups.values() if len(parts) == needed
        ]
        if len(self.groups) < options.identities:
            raise DataError(
                f"sampler.identities is {options.identities}, but only {len(self.groups)} training identities "
                f"{'have images of both modalities' if needed == 2 else 'exist'} "
                f"({len(self.left_out)} of {len(groups)} left out). Lower sampler.identities, or add images."
            )
        if options.identities % world:
            raise DataError(
                f"sampler.identities is {options.identities}, which {world} processes cannot share evenly. "
                f"Expected a multiple of {world}."
            )
        usable = sum(len(part) for parts in self.groups for part in parts)
        self.steps = max(1, usable // (options.identities * options.images))

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """This process's batches of an epoch: `steps` arrays of record indices, identity by identity."""
        generator = np.random.default_rng((self.seed, epoch))
        cycles = [[_cycle(part, generator) for part in parts] for parts in self.groups]
        identities = self._identities(generator)
        each = self.options.images // len(cycles[0])
        share = self.options.identities // self.world
        batches = []
        for _ in range(self.steps):
            chosen = [next(identities) for _ in range(self.options.identities)]
            drawn = [[next(cycle) for cycle in cycles[i] for _ in range(each)] for i in chosen]
            own = drawn[self.rank * share : (self.rank + 1) * share]
            batches.append(np.array(own, dtype=np.int64).reshape(-1))
        return batches

    def _identities(self, generator: np.random.Generator) -> Iterator[int]:
        """Permutations of the identities, one after the other; a batch never holds one identity twice."""
        p = self.options.identities
        pending: list[int] = []
        while True:
            batch = pending[:p]
            pending = pending[p:]
            if len(batch) < p:
                fresh = [int(i) for i in generator.permutation(len(self.groups))]
                taken = set(batch)
                first = [i for i in fresh if i not in taken][: p - len(batch)]
                used = set(first)
                pending = [i for i in fresh if i not in used]
                batch += first
            yield from batch


def _cycle(indices: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(i) for i in generator.permutation(indices))
