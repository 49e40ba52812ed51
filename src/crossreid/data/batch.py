"""A training batch: what a loader returns and a method takes. Lightweight: methods need not import the loader."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from crossreid.data.composition import Composition


class Batch(NamedTuple):
    """A training batch: images `(B, 3, H, W)` float32; labels, modalities, cameras `(B,)` int64.

    For sets of N images: images `(B, N, 3, H, W)`, modalities and cameras `(B, N)`. The images of a set are in random
    order, so its first M are a uniform draw of M. `domains` `(B,)` are the indices of the samples' data sets among the
    recipe's sources, 0 with one data set; None if unknown.

    `composition` says which of the B rows are of which kind; for sets it is that of the sets, None if a set has images
    of both modalities. Code that takes some rows of a batch or reorders them drops it: a method then computes it
    itself, which waits for the device.
    """

    images: Tensor
    labels: Tensor
    modalities: Tensor
    cameras: Tensor
    domains: Tensor | None = None
    composition: Composition | None = None
