"""The work of a computation, the capacity of a machine, and the resulting lower bound on the time.

The work is counted from the operations that torch runs: multiplications and additions of matrix products and
convolutions, bytes read and written, and the number of operations. The machine is measured: a large product, a large
copy, many empty operations. Each quotient is a lower bound on the time of the work as it is written; the largest of
them is its limit. The sum over operations of the time on each one's scarcest resource is what a device takes that runs
one after the other and wastes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, slots=True)
class Work:
    """What one call asks of each operation that it starts: `(floating-point operations of products, bytes read and written)`."""

    each: tuple[tuple[float, float], ...]

    @property
    def flops(self) -> float:
        return sum(flops for flops, _ in self.each)

    @property
    def bytes(self) -> float:
        return sum(moved for _, moved in self.each)

    @property
    def operations(self) -> int:
        return len(self.each)


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine gives: floating-point operations per second, bytes per second, seconds to start an operation."""

    flops: float
    bytes: float
    start: float

    def bounds(self, work: Work) -> dict[str, float]:
        """Seconds that each resource takes for `work` by itself."""
        return {
            "product": work.flops / self.flops,
            "memory": work.bytes / self.bytes,
            "launches": work.operations * self.start,
        }

    def in_turn(self, work: Work) -> float:
        """Seconds of one operation after the other, each bound by what it needs most of."""
        return sum(max(flops / self.flops, moved / self.bytes, self.start) for flops, moved in work.each)


class _Traffic(TorchDispatchMode):
    """Operations that compute anything: what products multiply and add, the bytes of what is read and written. Views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {id(part): part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        written = [part for part in tree_leaves(result) if isinstance(part, Tensor)]
        memory = {_memory(part) for part in read.values()}
        if written and (func._schema.is_mutable or not any(_memory(part) in memory for part in written)):
            count = flop_registry.get(func._overloadpacket)
            flops = 0 if count is None else count(*args, **(kwargs or {}), out_val=result)
            self.each.append((float(flops), float(sum(part.nbytes for part in (*read.values(), *written)))))
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def work_of(call: Callable[[], Any]) -> Work:
    """What `call` asks of torch, forward and backward. An upper bound of the traffic: kernels that fuse operations move less."""
    with _Traffic() as traffic:
        call()
    return Work(tuple(traffic.each))


def rates_of(device: torch.device, precision: str = "32-true", *, size: int = 8192, repeats: int = 5) -> Rates:
    """What the machine gives in a precision of `training.precision`, the best of `repeats`.

    Args:
        size: rows and columns of the product; the copy is of four times as many values in float32.
    """
    left, right = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))
    source = torch.empty(4 * size * size, device=device)
    target, small = torch.empty_like(source), torch.zeros(1, device=device)
    product = _best(lambda: left @ right, device, repeats)
    copy = _best(lambda: target.copy_(source), device, repeats)
    start = _best(lambda: [small.add_(1) for _ in range(1000)], device, repeats) / 1000
    return Rates(2 * size**3 / product, 2 * source.nbytes / copy, start)


def _best(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    call()
    return min(seconds(call, device) for _ in range(repeats))


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long `call` takes until the device has done it."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
