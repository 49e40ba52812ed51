"""P x K sampling from several data sets by weight: identities of all in each batch, or each batch from one.

As in `crossreid.data.sampling` an epoch's plan depends on (seed, epoch) alone, every process makes the same plan and
takes its own identities of each batch. Of a weight the exact share comes out over the batches, not of each: what is
left over of one counts for the next.
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

    An identity that cannot be balanced by modality is left out: `left_out` names those.

    Raises:
        DataError: a source without identities enough for its part of a batch, or P that the processes cannot share
            evenly.
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
                f"All its training images are {kinds.pop()}: give this source `balance: none`, by which any K of its images are "
                "drawn of an identity, or leave it out."
            )
        raise DataError(
            f"source {source.called!r}: batches take up to {wanted} of its identities (data.sampler.identities is "
            f"{self.options.identities}), but only {usable} {'have images of both modalities' if needed == 2 else 'exist'} "
            f"({left_out} left out). {way_out}"
        )

    def _most(self, index: int) -> int:
        """The most identities of a source in one batch."""
        p = self.options.identities
        return p if self.mixing == "alternate" else math.ceil(round(float(p * self.shares[index]), 9))

    def steps_in(self, epoch: int) -> int:
        """How many batches an epoch has: as many as hold all images, or all identities, of all sources once."""
        options = self.options
        if isinstance(options.epoch, int):
            return options.epoch
        if options.epoch == "identities":
            return max(1, sum(len(groups) for groups in self.groups) // options.identities)
        usable = sum(len(part) for groups in self.groups for parts in groups for part in parts)
        return max(1, usable // (options.identities * options.images))

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """This process's batches of an epoch: `steps_in(epoch)` arrays of record indices, identity by identity."""
        p, k = self.options.identities, self.options.images
        generator = np.random.default_rng((self.seed, epoch))
        streams = [_Stream(groups, k, self.options, generator) for groups in self.groups]
        each = p if self.mixing == "alternate" else 1  # identities that come together
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
    """How many of `count` each source has at each step, `(steps, S)`: whole numbers whose mean is its share.

    What a share is short of at one step it has in advance at the next; where that begins is drawn.
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
    """The identities of one source, one after another, and K images of each, drawn as the sampler's options have it."""

    def __init__(
        self, groups: Sequence[Sequence[np.ndarray]], k: int, options: SamplerOptions, generator: np.random.Generator
    ) -> None:
        self.groups, self.k, self.generator, self.options = groups, k, generator, options
        self.cycles = [[_cycle(part, generator) for part in parts] for parts in groups]
        self.pending: list[int] = []

    def take(self, count: int) -> list[np.ndarray]:
        """K image indices of each of the next `count` identities, no identity twice."""
        if count == 0:
            return []
        if self.options.replacement:
            chosen = self.generator.choice(len(self.groups), count, replace=False).tolist()
        else:
            chosen = self._next(count)
        return [self._images(identity) for identity in chosen]

    def _next(self, count: int) -> list[int]:
        """The next identities in turn: none comes again before all have come, but that no batch holds one twice."""
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
