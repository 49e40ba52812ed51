"""The device that a model computes on, by its name."""

from __future__ import annotations

import torch

from crossreid.errors import CrossreidError


def device_of(name: str | None) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, or by default a GPU if available.

    Raises:
        CrossreidError: another kind of device, or a missing GPU.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if (kind == "cpu" and not colon) or (kind == "cuda" and (not colon or (number.isdecimal() and len(number) < 5))):
        if kind == "cuda" and not torch.cuda.is_available():
            raise CrossreidError(f"device {name!r}: this PyTorch finds no usable GPU; choose cpu.")
        if colon and int(number) >= torch.cuda.device_count():
            raise CrossreidError(f"device {name!r}: GPUs here are cuda:0 to cuda:{torch.cuda.device_count() - 1}.")
        return torch.device(name)
    raise CrossreidError(f"device {name!r}: expected cpu, cuda, or a GPU by number, for example cuda:1.")
