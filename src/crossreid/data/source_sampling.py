"""P x K sampling from several data sets by weight: identities of all in each batch, or each batch from one.

As in `crossreid.data.sampling`, an epoch's plan depends only on (seed, epoch), and every process makes the same plan
and takes its own identities of each batch. The exact share of a weight is reached over the batches, not in each one:
remainders carry over to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from crossreid.data.records import DataError, Record
from crossreid.data.sampling import SamplerOptions, balanced_groups
from crossreid.data.sources import SourceOptions


class SourceSampler:
    """Plans batches of record indices for `records`, each of which names its source.

    Identities that cannot be balanced by modality are left out: `left_out` names them.

    Raises:
        DataError: a source without enough identities for its part of a batch, or P is not divisible by the number of
            processes.
    """

    def __init__(
        self,
        records: Sequence[Record],
        options: SamplerOptions,
        sources: Sequence[SourceOptions],
        *,
        mixing: str,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.options, self.sources, self.mixing = options, tuple(sources), mixing
        self.seed, self.rank, self.world = seed, rank, world
        weights = np.array([source.weight for source in sources])
        self.shares = weights / weights.sum()
        self.groups: list[list[list[np.ndarray]]] = []
        self.left_out: tuple[str, ...] = ()
        for source in sources:
            positions = np.array(
                [i for i, record in enumerate(records) if record.source == source.called], dtype=np.int64
            )
            own = [records[i] for i in positions]
            groups, left_out, needed = balanced_groups(own, source.balance or options.balance)
            self.groups.append([[positions[part] for part in parts] for parts in groups])
            self.left_out += left_out
            self._refuse_too_few(source, own, len(groups), len(left_out), needed)
        if options.identities % world:
            raise DataError(
                f"sampler.identities is {options.identities}, which {world} processes cannot share evenly. "
                f"Expected a multiple of {world}."
            )

    def _refuse_too_few(
        self, source: SourceOptions, records: Sequence[Record], usable: int, left_out: int, needed: int
    ) -> None:
        wanted = self._most(self.sources.index(source))
        if usable >= wanted:
            return
        kinds = {record.modality.name.lower() for record in records}
        other = "" if self.mixing == "within" else ", or set data.mixing=within"
        way_out = f"Lower {'its weight or ' if self.mixing == 'within' else ''}data.sampler.identities{other}."
        if needed == 2 and len(kinds) == 1:
            way_out = (
                f"All its training images are {kinds.pop()}: give this source `balance: none`, which draws any K images "
                "of an identity, or leave it out."
            )
        raise DataError(
            f"source {source.called!r}: batches take up to {wanted} of its identities (data.sampler.identities is "
            f"{self.options.identities}), but only {usable} {'have images of both modalities' if needed == 2 else 'exist'} "
            f"({left_out} left out). {way_out}"
        )

    def _most(self, index: int) -> int:
        """Return the most identities of a source in one batch."""
        p = self.options.identities
        return p if self.mixing == "alternate" else math.ceil(round(float(p * self.shares[index]), 9))

    def steps_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch: enough for all images, or all identities, of all sources once."""
        options = self.options
        if isinstance(options.epoch, int):
            return options.epoch
        if options.epoch == "identities":
            return max(1, sum(len(groups) for groups in self.groups) // options.identities)
        usable = sum(len(part) for groups in self.groups for parts in groups for part in parts)
        return max(1, usable // (options.identities * options.images))

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return this process's batches of an epoch: `steps_in(epoch)` arrays of record indices, by identity."""
        p, k = self.options.identities, self.options.images
        generator = np.random.default_rng((self.seed, epoch))
        streams = [_Stream(groups, k, self.options, generator) for groups in self.groups]
        each = p if self.mixing == "alternate" else 1  # identities drawn together
        turns = turns_by_share(self.shares, p // each, self.steps_in(epoch), generator) * each
        share = p // self.world
        batches = []
        for counts in turns:
            rows = [row for stream, count in zip(streams, counts, strict=True) for row in stream.take(int(count))]
            order = generator.permutation(p)  # so that each process has its part of every source
            own = order[self.rank * share : (self.rank + 1) * share]
            batches.append(np.concatenate([rows[i] for i in own]))
        return batches


def turns_by_share(shares: np.ndarray, count: int, steps: int, generator: np.random.Generator) -> np.ndarray:
    """Return how many of `count` each source has per step, `(steps, S)`: whole numbers whose mean is its share.

    A share's shortfall at one step is made up at the next; the starting point is random.
    """
    most = np.ceil(np.round(count * shares, 9))
    owed = generator.random(len(shares))
    owed -= owed.mean()
    turns = np.zeros((steps, len(shares)), dtype=np.int64)
    for step in range(steps):
        owed += count * shares
        given = np.clip(np.floor(owed + 1e-9), 0, most)
        while (left := int(count - given.sum())) != 0:
            open_to = (
                np.where(given < most, owed - given, -np.inf)
                if left > 0
                else np.where(given > 0, given - owed, -np.inf)
            )
            given[int(np.argmax(open_to))] += 1 if left > 0 else -1
        owed -= given
        turns[step] = given
    return turns


class _Stream:
    """The identities of one source in sequence, and K images of each, drawn according to the sampler's options."""

    def __init__(
        self, groups: Sequence[Sequence[np.ndarray]], k: int, options: SamplerOptions, generator: np.random.Generator
    ) -> None:
        self.groups, self.k, self.generator, self.options = groups, k, generator, options
        self.cycles = [[_cycle(part, generator) for part in parts] for parts in groups]
        self.pending: list[int] = []

    def take(self, count: int) -> list[np.ndarray]:
        """Return K image indices of each of the next `count` identities, no identity twice."""
        if count == 0:
            return []
        if self.options.replacement:
            chosen = self.generator.choice(len(self.groups), count, replace=False).tolist()
        else:
            chosen = self._next(count)
        return [self._images(identity) for identity in chosen]

    def _next(self, count: int) -> list[int]:
        """Return the next identities in turn: none is repeated before all were used, and no batch has one twice."""
        chosen = self.pending[:count]
        self.pending = self.pending[count:]
        if len(chosen) < count:
            fresh = self.generator.permutation(len(self.groups)).tolist()
            added = [identity for identity in fresh if identity not in chosen][: count - len(chosen)]
            self.pending = [identity for identity in fresh if identity not in added]
            chosen = [*chosen, *added]
        return chosen

    def _images(self, identity: int) -> np.ndarray:
        parts, each = self.groups[identity], self.k // len(self.groups[identity])
        if self.options.replacement:
            return np.concatenate([self.generator.choice(part, each) for part in parts])
        if self.options.epoch == "identities":
            drawn = [self.generator.choice(part, each, replace=len(part) < each) for part in parts]
            return np.stack(drawn, axis=1).reshape(-1)
        return np.array([next(cycle) for cycle in self.cycles[identity] for _ in range(each)], dtype=np.int64)


def _cycle(indices: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(i) for i in generator.permutation(indices))
