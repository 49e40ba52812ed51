"""What makes a device wait for the host, or the host for a device, refused by name: on CPU too, where nothing waits."""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What a GPU answers to the host: values, or how many there are of something, which shapes then depend on.
ASKING = {
    "_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "argwhere", "masked_select", "bincount",
    "unique_consecutive", "unique_dim", "_unique", "_unique2", "unique_dim_consecutive", "_assert_async",
}  # fmt: skip
# What makes a tensor from numbers of the host, as `torch.tensor` does.
FROM_THE_HOST = {"lift", "lift_fresh"}
COPIES = {"_to_copy", "copy_", "_copy_from"}


class Synchronised(AssertionError):
    pass


class _Refusal(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        tensors = [part for part in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
        if name in ASKING or name in FROM_THE_HOST:
            raise Synchronised(f"{func}: the device is waited for")
        if name.startswith("index") and any(part.dtype in (torch.bool, torch.uint8) for part in _indices(name, args)):
            raise Synchronised(f"{func}: rows picked by a mask")
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            raise Synchronised(f"{func}: the number of rows depends on values")
        result = func(*args, **kwargs)
        if name in COPIES:
            made = [part for part in torch.utils._pytree.tree_leaves(result) if isinstance(part, torch.Tensor)]
            if len({part.device.type for part in [*tensors, *made]}) > 1:
                raise Synchronised(f"{func}: a copy between devices")
        return result


def _indices(name, args):
    given = args[1] if name in ("index", "index_put", "index_put_") and len(args) > 1 else ()
    return [part for part in given or () if isinstance(part, torch.Tensor)]


@contextlib.contextmanager
def without_synchronisation(device="cpu"):
    """Within, whatever waits raises: on a GPU by torch's own look-out as well.

    Operators of ours are seen as a whole; what they do inside is for tests of their own.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_Refusal())
        if torch.device(device).type == "cuda":
            before = torch.cuda.get_sync_debug_mode()
            stack.callback(torch.cuda.set_sync_debug_mode, before)
            torch.cuda.set_sync_debug_mode("error")
        yield
