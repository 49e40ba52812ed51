"""What a device would have to be waited for, refused: the operations whose result's size or value the host must know."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal",
    "is_nonzero", "repeat_interleave", "histc",
}  # fmt: skip


class NoWaiting(TorchDispatchMode):
    """Raises AssertionError at an operation that waits, and counts the others, each of which is a launch or none."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = [i for i in (args[1] if name in ("index", "index_put", "index_put_") else ()) if i is not None]
        waits = name in WAITING or any(index.dtype in (torch.bool, torch.uint8) for index in masks)
        assert not waits, f"{name} waits for the device"
        self.calls[name] += 1
        return function(*args, **(kwargs or {}))
