"""The global random generators of torch, NumPy and Python: seeded together, read and restored."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_generators(seed: int) -> None:
    """Seed all of them; augmentations of other libraries use NumPy's and Python's."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (the global one is meant)


def generator_states() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of the generators: named tensors, and JSON values."""
    tensors = {"torch": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        tensors[f"cuda{index}"] = torch.cuda.get_rng_state(index)
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    version, internal, gauss = random.getstate()
    tensors["python"] = torch.tensor(internal, dtype=torch.int64)
    return tensors, {"numpy": [str(name), int(position), int(has_gauss), float(cached)], "python": [version, gauss]}


def restore_generators(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Restore the states that `generator_states` returned."""
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{index}"], index)
    name, position, has_gauss, cached = facts["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    random.setstate((facts["python"][0], tuple(tensors["python"].tolist()), facts["python"][1]))


@contextlib.contextmanager
def preserved_generators() -> Iterator[None]:
    """Draws within the block do not affect later ones."""
    states = generator_states()
    try:
        yield
    finally:
        restore_generators(*states)
