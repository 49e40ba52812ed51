"""Hold identities out of training, if a data set names none for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossreid.data.records import DataError, Record, labels_of


def hold_out(records: Sequence[Record], count: int, *, seed: int) -> tuple[list[Record], list[Record]]:
    """Return the records of all identities but `count`, and of those; which ones depends only on `seed` and the
    identities.

    Raises:
        DataError: not a number, or fewer than two identities would be left to train on.
    """
    identities = list(labels_of(records))
    if not isinstance(count, int) or count < 0 or (count and len(identities) - count < 2):
        raise DataError(
            f"validation is {count!r}, but there are {len(identities)} training identities; expected 0 to "
            f"{max(len(identities) - 2, 0)}, so that 2 or more are left to train on."
        )
    chosen = np.random.default_rng(seed).permutation(len(identities))[:count]
    held = {identities[index] for index in chosen}
    return [r for r in records if r.identity not in held], [r for r in records if r.identity in held]
