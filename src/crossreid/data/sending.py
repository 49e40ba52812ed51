"""Copy from the host to a device without waiting, and the next batch while the current one is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Made = TypeVar("Made")
CPU = torch.device("cpu")


def sent(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Return a host array as a tensor on the device; a GPU copies it asynchronously."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in a tuple and its nested tuples."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, tuple) else []


def all_sent(value: Made, device: torch.device) -> Made:
    """Return a tuple with its tensors sent to the device as in `sent`; everything else is unchanged."""
    return with_each(value, Tensor, lambda tensor: sent(tensor, device))  # type: ignore[no-any-return]


def with_each(value: Any, kind: type, made: Callable[[Any], Any]) -> Any:
    """Return a nested tuple with each part of a kind replaced by what `made` returns for it."""
    if isinstance(value, kind):
        return made(value)
    if not isinstance(value, tuple):
        return value
    parts = [with_each(part, kind, made) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def sent_ahead(loaded: Iterable[Any], make: Callable[[Any], Made], device: torch.device) -> Iterator[Made]:
    """Yield `make` of each loaded item, on a GPU one ahead on a separate stream, else on demand."""
    if device.type != "cuda":
        yield from map(make, loaded)
        return
    stream = torch.cuda.Stream(device)
    coming: Made | None = None
    for one in loaded:
        with torch.cuda.stream(stream):
            made = make(one)
        if coming is not None:
            yield coming
        coming = _handed_over(made, stream, device)
    if coming is not None:
        yield coming


def _handed_over(made: Made, stream: torch.cuda.Stream, device: torch.device) -> Made:
    """Make the current stream wait for the other one's result, and keep its memory until the current one is done."""
    present = torch.cuda.current_stream(device)
    present.wait_stream(stream)
    for tensor in tensors_in(made):
        tensor.record_stream(present)
    return made
