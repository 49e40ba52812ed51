"""P x K sampling: P identities per batch, K images of each, half of them of each modality.

An epoch's plan depends only on (seed, epoch). Every process makes the same plan and takes its own identities of each
batch, so the batches of several processes, joined in process order, are those of one. `epoch` says what one pass over
the training set is; `crossreid.data.epochs` implements the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from crossreid.data.epochs import each_batch_afresh, every_identity, every_image, every_pair, pair_chunks, pair_turns
from crossreid.data.records import DataError, Modality, Record, labels_of
from crossreid.errors import CrossreidError
from crossreid.options import Options


class SamplerOptions(Options):
    identities: int = Field(16, ge=2, description="P, identities per batch, over all processes.")
    images: int = Field(8, ge=2, description="K, images of each identity in a batch.")
    balance: Literal["modality", "none", "auto"] = Field(
        "modality",
        description="`modality`: K/2 visible and K/2 infrared images; `none`: any K images; `auto`: `none` where all training "
        "images are of one modality, else `modality`.",
    )
    epoch: Literal["images", "identities", "pairs"] | int = Field(
        "images",
        description="What one epoch is: every image about once (`images`); every identity once, with K of its images "
        "(`identities`); every pair of a visible and an infrared image, as IDKL draws them (`pairs`); or "
        "a number of batches.",
    )
    replacement: bool = Field(
        False,
        description="Draw each batch independently: P of all identities, and images of each with replacement, as AGW "
        "does. For `images` and a number of batches.",
    )

    @field_validator("epoch", mode="before")
    @classmethod
    def _kind_or_number(cls, given: Any) -> Any:
        number = isinstance(given, int) and not isinstance(given, bool) and given >= 1
        if not number and given not in ("images", "identities", "pairs"):
            raise CrossreidError("expected images, identities, pairs, or a number of batches from 1")
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> SamplerOptions:
        if self.balance != "none" and self.images % 2:
            raise CrossreidError(f"images is {self.images}, expected an even number to split between the modalities")
        if self.epoch == "pairs" and self.balance != "modality":
            raise CrossreidError("epoch is pairs of a visible and an infrared image: expected balance modality")
        if self.replacement and self.epoch in ("identities", "pairs"):
            raise CrossreidError(
                f"replacement: an epoch of {self.epoch} takes each once. Expected epoch images or a number of batches"
            )
        return self


class IdentitySampler:
    """Plans batches of record indices for `records`.

    Identities that lack a modality cannot be balanced and are left out: `left_out` names them.

    Raises:
        DataError: fewer usable identities than P, or P is not divisible by the number of processes.
    """

    def __init__(
        self, records: Sequence[Record], options: SamplerOptions, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.options, self.seed, self.rank, self.world = options, seed, rank, world
        self.groups, self.left_out, needed = balanced_groups(records, options.balance)
        if len(self.groups) < options.identities:
            raise DataError(
                f"sampler.identities is {options.identities}, but only {len(self.groups)} training identities "
                f"{'have images of both modalities' if needed == 2 else 'exist'} "
                f"({len(self.left_out)} of {len(self.left_out) + len(self.groups)} left out). {_way_out(records, options)}"
            )
        if options.identities % world:
            raise DataError(
                f"sampler.identities is {options.identities}, which {world} processes cannot share evenly. "
                f"Expected a multiple of {world}."
            )
        if options.epoch == "pairs":
            enough = int(np.count_nonzero(pair_chunks(self.groups, options.images)))
            if enough < options.identities:
                raise DataError(
                    f"sampler.identities is {options.identities}, but only {enough} training identities have "
                    f"{options.images // 2} pairs of images. Lower sampler.identities or sampler.images."
                )

    def steps_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch; the same for every epoch, except for epochs of pairs."""
        options = self.options
        if options.epoch == "identities":
            return len(self.groups) // options.identities
        if options.epoch == "pairs":
            chunks = pair_chunks(self.groups, options.images)
            return len(pair_turns(chunks, options.identities, self._generator(epoch)))
        if options.epoch == "images":
            usable = sum(len(part) for parts in self.groups for part in parts)
            return max(1, usable // (options.identities * options.images))
        return options.epoch

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Return this process's batches of an epoch: `steps_in(epoch)` arrays of record indices, by identity."""
        p, k = self.options.identities, self.options.images
        generator = self._generator(epoch)
        if self.options.epoch == "identities":
            batches = every_identity(self.groups, p, k, generator)
        elif self.options.epoch == "pairs":
            batches = every_pair(self.groups, p, k, generator)
        elif self.options.replacement:
            batches = each_batch_afresh(self.groups, p, k, self.steps_in(epoch), generator)
        else:
            batches = every_image(self.groups, p, k, self.steps_in(epoch), generator)
        share = p // self.world
        own = batches[:, self.rank * share : (self.rank + 1) * share]
        return list(own.reshape(len(batches), share * k))

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch))


def by_modality(records: Iterable[Record], balance: str) -> bool:
    """Return whether batches of `records`, which are read for `auto` only, are half visible and half infrared."""
    return balance == "modality" or (balance == "auto" and len({record.modality for record in records}) > 1)


def balanced_groups(records: Sequence[Record], balance: str) -> tuple[list[list[np.ndarray]], tuple[str, ...], int]:
    """Return the images of each identity as in `crossreid.data.epochs`, who is left out, and the kinds that each must
    have.
    """
    balanced = by_modality(records, balance)
    groups: dict[str, dict[int, list[int]]] = {identity: {} for identity in labels_of(records)}
    for index, record in enumerate(records):
        group = int(record.modality) if balanced else 0
        groups[record.identity].setdefault(group, []).append(index)
    needed = len(Modality) if balanced else 1
    left_out = tuple(identity for identity, parts in groups.items() if len(parts) < needed)
    kept = [[np.array(parts[kind]) for kind in sorted(parts)] for parts in groups.values() if len(parts) == needed]
    return kept, left_out, needed


def _way_out(records: Sequence[Record], options: SamplerOptions) -> str:
    """Name the keys to change if too few identities can be put into a batch."""
    kinds = {record.modality for record in records}
    if options.balance == "modality" and len(kinds) == 1:
        kind = kinds.pop().name.lower()
        pseudo = ", or for a manifest data.options.pseudo_infrared=query" if kind == "visible" else ""
        return f"All training images are {kind}: set data.sampler.balance=none{pseudo}."
    return "Lower data.sampler.identities, or add images."
