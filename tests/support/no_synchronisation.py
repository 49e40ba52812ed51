"""What makes a host wait for a device, refused: on CPU by the operators that need a value of a tensor on the host.

A GPU runs behind the program that feeds it. An operator that returns a number to Python, or a tensor whose shape depends on
data, makes the program wait until the GPU has caught up. On CPU nothing waits, but the same operators are called. Lists and
arrays of values are refused where Python asks for them, as on CPU no operator is needed to make them.
"""

import contextlib

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Numbers and truth values for Python: `item()`, `float(t)`, `bool(t)`, `if t:`, `equal`.
READS = (
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::is_nonzero",
    "aten::equal",
    "aten::allclose",
    "aten::_assert_async",
)
# Tensors made of numbers of the host, as by `torch.tensor`.
FROM_THE_HOST = ("aten::lift", "aten::lift_fresh")
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_copy_from")
# Shapes that depend on data.
SHAPES = (
    "aten::nonzero", "aten::argwhere", "aten::masked_select", "aten::_unique", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::unique_dim_consecutive", "aten::bincount", "aten::repeat_interleave",
)  # fmt: skip
# What Python asks a tensor for, to have its values.
VALUES = (Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__)
# Indices, of which masks are turned into places first.
INDICES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Synchronised(AssertionError):
    """An operator was called that makes the host wait for the device."""


@contextlib.contextmanager
def no_synchronisation(device="cpu", *, moves=True):
    """In the block, what makes the host wait raises `Synchronised`, in forward and backward passes alike; on a GPU by torch too.

    moves: whether tensors may come from another device, or be made of the host's numbers, as none need to within `losses`.
    """
    on_gpu = torch.device(device).type == "cuda"
    with _NoValues(), _NoOperators(moves), cuda_without_synchronisation() if on_gpu else contextlib.nullcontext():
        yield


class _NoValues(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in VALUES:
            raise Synchronised(f"Tensor.{function.__name__} makes the host wait for the device")
        return function(*args, **(kwargs or {}))


class _NoOperators(TorchDispatchMode):
    def __init__(self, moves):
        super().__init__()
        self.moves = moves

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name
        if name in READS or (name in SHAPES and not _says_its_size(name, args, kwargs)):
            raise Synchronised(f"{name} makes the host wait for the device")
        if name in INDICES and any(_is_mask(index) for index in args[1] if index is not None):
            raise Synchronised(f"{name} by a mask makes the host wait for the device")
        if _to_host(name, args, kwargs):
            raise Synchronised(f"{name} to the host waits for the device")
        if not self.moves and name in FROM_THE_HOST:
            raise Synchronised(f"{name} takes numbers of the host to the device")
        result = function(*args, **kwargs)
        if not self.moves and name in COPIES:
            tensors = [part for part in tree_leaves((args, kwargs, result)) if isinstance(part, Tensor)]
            if len({part.device.type for part in tensors}) > 1:
                raise Synchronised(f"{name} copies between devices")
        return result


@contextlib.contextmanager
def cuda_without_synchronisation():
    """The same on a GPU, by torch's own detection of calls that wait."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _says_its_size(name, args, kwargs):
    counts = args[1] if len(args) > 1 else None
    return name == "aten::repeat_interleave" and (
        kwargs.get("output_size") is not None or (counts is not None and not isinstance(counts, Tensor))
    )


def _is_mask(index):
    return index.dtype in (torch.bool, torch.uint8)


def _to_host(name, args, kwargs):
    """Whether an operator copies from a device into memory that the host reads, and waits for it."""
    if name == "aten::_to_copy":
        to, waits = kwargs.get("device"), not kwargs.get("non_blocking", False)
        return to is not None and torch.device(to).type == "cpu" and args[0].device.type != "cpu" and waits
    if name == "aten::copy_":
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        return args[0].device.type == "cpu" and args[1].device.type != "cpu" and waits
    return False
