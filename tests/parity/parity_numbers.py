"""Numbers of the releases, and how far ours are from them: what the comparisons with VKD, AGW and CAJ share."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent
TOLERANCE = 1e-5


@cache
def about(name: str) -> dict:
    """What the .json beside the numbers `name` (FOLDER/FILE) says of them."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def numbers(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def unfilled():
    """A context in which networks are built without initial values: nobody reads them, or they are given theirs afterwards.

    Building a backbone passes small images through it. On torch's device `meta`, where batch norm is decomposed in Python,
    each of them takes a ResNet-50 half a second.
    """
    return Fabric(accelerator="cpu", devices=1).init_module(empty_init=True)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest entry that is expected."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30))


def made(order: list[str], shapes: list[torch.Size], seed: int) -> list[Tensor]:
    """The tensors that the fixtures describe by a rule (`about`), in their order."""
    tensors = []
    for place, (name, shape) in enumerate(zip(order, shapes, strict=True)):
        drawn, last = np.random.default_rng([seed, place]), name.rpartition(".")[2]
        if len(shape) > 1:
            scale = 0.05 if name.startswith("classifier.") else np.sqrt(2 / np.prod(shape[1:]))
            value = drawn.standard_normal(shape) * scale
        elif name == "classifier.bottleneck.bias":
            value = np.zeros(shape)
        elif last in ("bias", "running_mean"):
            value = drawn.standard_normal(shape) * 0.1
        else:
            value = drawn.random(shape) + 0.5 if last == "running_var" else drawn.random(shape) * 0.5 + 0.75
        tensors.append(torch.from_numpy(value.astype(np.float32)))
    return tensors


def fill(module: torch.nn.Module, tensors: list[Tensor]) -> None:
    """Give `module` these tensors in the order of its state, counters of batches apart."""
    state = {name: t for name, t in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    for own, tensor in zip(state.values(), tensors, strict=True):
        own.copy_(tensor)


class Row(NamedTuple):
    """A line of the table of fidelity: a scalar or the largest entry of a tensor, and the largest difference as a share of it."""

    quantity: str
    release: float
    ours: float
    difference: float
    tolerance: float
    setting: str


class Deviation(NamedTuple):
    """A remaining difference from the release, and the reason for it."""

    quantity: str
    release: str
    ours: str
    reason: str
    setting: str


def compared(quantity: str, found: Tensor, expected: Tensor, setting: str, tolerance: float = TOLERANCE) -> Row:
    release, ours = (float(t if t.ndim == 0 else t.abs().max()) for t in (expected, found))
    return Row(quantity, release, ours, difference(found, expected), tolerance, setting)


def printed(rows: Iterator[Row]) -> None:
    for row in rows:
        print(f"{row.quantity:60} {row.release:12.6g} {row.ours:12.6g} {row.difference:9.1e} {row.tolerance:9.1e}")
