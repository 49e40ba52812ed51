"""A training batch: what a loader gives and a method takes. Light, so that a method need not import the loader."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from crossreid.data.composition import Composition


class Batch(NamedTuple):
    """A training batch: images `(B, 3, H, W)` float32; labels, modalities, cameras `(B,)` int64.

    Of sets of N images: images `(B, N, 3, H, W)`, modalities and cameras `(B, N)`. The images of a set are in random
    order, so that its first M are a uniform draw of M. `domains` `(B,)` are the positions of the data sets that the samples are of
    among the recipe's sources, 0 where there is one data set; None where nobody says.

    `composition` says which of the B rows are of which kind; of sets it is that of the sets, None where one has images of both
    modalities. Whoever takes rows of a batch or changes their order leaves it out: a method then finds it itself, for which the
    device is waited for.
    """

    images: Tensor
    labels: Tensor
    modalities: Tensor
    cameras: Tensor
    domains: Tensor | None = None
    composition: Composition | None = None
