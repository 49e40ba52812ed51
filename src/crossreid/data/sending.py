"""From the host to a device without waiting for it, and the next batch while the present one is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Made = TypeVar("Made")
CPU = torch.device("cpu")


def sent(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array of the host as a tensor of the device; a GPU takes it when it comes to it, and nothing waits."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a tuple, in it and in tuples of it."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, tuple) else []


def all_sent(value: Made, device: torch.device) -> Made:
    """A tuple with its tensors on the device, sent as `sent` does it; what is no tensor stays."""
    return with_each(value, Tensor, lambda tensor: sent(tensor, device))  # type: ignore[no-any-return]


def with_each(value: Any, kind: type, made: Callable[[Any], Any]) -> Any:
    """A tuple with what `made` makes of each part of a kind in its place, in it and in tuples of it."""
    if isinstance(value, kind):
        return made(value)
    if not isinstance(value, tuple):
        return value
    parts = [with_each(part, kind, made) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def sent_ahead(loaded: Iterable[Any], make: Callable[[Any], Made], device: torch.device) -> Iterator[Made]:
    """What `make` makes of each that was loaded, on a GPU one ahead and on a stream of its own, else as it is asked for."""
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
    """The present stream waits for what the other one makes, and its memory for the present one to be done with it."""
    present = torch.cuda.current_stream(device)
    present.wait_stream(stream)
    for tensor in tensors_in(made):
        tensor.record_stream(present)
    return made
