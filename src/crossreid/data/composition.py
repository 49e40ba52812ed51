"""Which rows of a training batch are of which kind: the selections of losses, computed once when the batch is made.

The number of rows of a kind determines shapes. Because it is found on the host while the batch is collated, no step
waits for the device to learn it, and steps can be compiled with it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crossreid.errors import NO_PAIRS, CrossreidError


class Composition(NamedTuple):
    """Row indices of a batch, int64, in shapes that say how many there are.

    Attributes:
        visible, infrared: `(V,)`, `(I,)`, the rows of each modality.
        pairs: `(2, n)`, the visible and infrared row of each cross-modal pair of one identity; n is 0 if there is none.
        matched: `(2, m)`, the same, with every image of such an identity once, or in turn (`paired_as_drawn`).
        slots: `(2, identities, k)`, for each identity in both modalities, the first k of `matched` (`slot_rows`).
    """

    visible: Tensor
    infrared: Tensor
    pairs: Tensor
    matched: Tensor
    slots: Tensor

    @property
    def by_modality(self) -> tuple[Tensor, Tensor]:
        """Return the rows of each modality, visible ones first."""
        return self.visible, self.infrared

    def refuse_unpaired(self) -> None:
        """Raise `CrossreidError` if no identity occurs in both modalities."""
        if not self.pairs.shape[1]:
            raise CrossreidError(NO_PAIRS)

    def over_sets(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the rows of each modality among the images of sets of `size`, one set after another."""
        own = torch.arange(size, device=self.visible.device)
        visible, infrared = ((rows[:, None] * size + own).flatten() for rows in self.by_modality)
        return visible, infrared


def composition_of(labels: Tensor, modalities: Tensor) -> Composition:
    """Return the composition of labels `(B,)` and modalities `(B,)`, on their device, waiting for it."""
    visible, infrared = ((modalities == kind).nonzero().flatten() for kind in (0, 1))
    pairs = torch.stack(_pairs(labels, modalities))
    if not pairs.shape[1]:
        return Composition(visible, infrared, pairs, pairs, pairs[:, :, None])
    matched, sizes = _as_drawn(labels, modalities)
    return Composition(visible, infrared, pairs, torch.stack(matched), torch.stack(_slots(matched, sizes)))


def composition_of_sets(labels: Tensor, modalities: Tensor) -> Composition | None:
    """Return the composition of sets `(B, N)` by set, or of images `(B,)`; None if a set has both modalities."""
    if modalities.ndim == 1:
        return composition_of(labels, modalities)
    own = modalities[:, 0]
    return composition_of(labels, own) if torch.equal(modalities, own[:, None].expand_as(modalities)) else None


def cross_modal_pairs(labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
    """Return row indices (visible, infrared), each `(n,)`, of all cross-modal pairs of one identity.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    visible, infrared = _pairs(labels, modalities)
    if not len(visible):
        raise CrossreidError(NO_PAIRS)
    return visible, infrared


def _pairs(labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
    pairs = (labels[:, None] == labels[None, :]) & (modalities[:, None] == 0) & (modalities[None, :] == 1)
    visible, infrared = pairs.nonzero(as_tuple=True)
    return visible, infrared


def paired_rows(labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows `(n,)` of the visible and of the infrared images; the i-th of both are of one identity.

    Sorted by identity. An identity with fewer images in one modality repeats these in turn until both have as many; one
    that occurs in only one modality is left out. With K of each, the rows are every image once.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    return _paired(labels, modalities)[0]


def _paired(labels: Tensor, modalities: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return `paired_rows`, and the number of pairs per identity that has any, by label."""
    device, classes = labels.device, int(labels.max()) + 1
    rows = [(modalities == kind).nonzero().flatten() for kind in (0, 1)]
    rows = [index[labels[index].argsort(stable=True)] for index in rows]
    counts = [torch.bincount(labels[index], minlength=classes) for index in rows]
    both = (counts[0] > 0) & (counts[1] > 0)
    sizes = torch.maximum(counts[0], counts[1]) * both
    if not bool(both.any()):
        raise CrossreidError(NO_PAIRS)
    owners = torch.repeat_interleave(torch.arange(classes, device=device), sizes)
    places = torch.arange(len(owners), device=device) - (sizes.cumsum(0) - sizes)[owners]
    visible, infrared = (
        index[(count.cumsum(0) - count)[owners] + places % count[owners]]
        for index, count in zip(rows, counts, strict=True)
    )
    return (visible, infrared), sizes[both]


def paired_as_drawn(labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
    """As `paired_rows`, with identities in the order of their first occurrence in the batch.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    return _as_drawn(labels, modalities)[0]


def _as_drawn(labels: Tensor, modalities: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    known, position = labels.unique(return_inverse=True)
    count = torch.arange(len(labels), device=labels.device)
    first = count.new_full((len(known),), len(labels)).scatter_reduce(0, position, count, "amin")
    return _paired(first.argsort().argsort()[position], modalities)


def slot_rows(labels: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return visible rows `(I k,)`, infrared rows `(I k,)` and k: the first k pairs of each identity in both
    modalities.

    k is the number that all of them have; in batches of P x 2k these are all rows.

    Raises:
        CrossreidError: no identity of the batch occurs in both modalities.
    """
    visible, infrared = _slots(*_as_drawn(labels, modalities))
    return visible.flatten(), infrared.flatten(), visible.shape[1]


def _slots(matched: tuple[Tensor, Tensor], sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same as `(I, k)`, from matched pairs and the number per identity."""
    starts = sizes.cumsum(0) - sizes
    rows = starts[:, None] + torch.arange(int(sizes.min()), device=starts.device)
    return matched[0][rows], matched[1][rows]
