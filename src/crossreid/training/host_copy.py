"""A tensor on its way to the host: copied asynchronously, waited for when its values are read."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor on the host; a tensor already there is used itself and must not change until it is read."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._arrived = tensor, None
        if tensor.device.type != "cuda":
            return
        # Page-locked, as copies into other memory are synchronous.
        self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._tensor.copy_(tensor, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> Tensor:
        """The values, once they have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor if self._tensor.device.type == "cpu" else self._tensor.cpu()
