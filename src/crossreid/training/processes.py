"""The processes of one run: started by Lightning Fabric or torchrun, and what they exchange besides gradients.

`gathered`, `agreed_signal` and `gathered_generators` synchronise the processes: all must call them, at the
same step.
"""

from __future__ import annotations

import atexit
import warnings
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.training.bf16 import refuse_broken_bf16
from crossreid.training.generators import generator_states, restore_generators
from crossreid.training.host_copy import HostCopy
from crossreid.training.options import TrainingOptions


def make_fabric(options: TrainingOptions) -> Fabric:
    """Devices, precision and processes; under torchrun it joins the existing processes.

    Gradients are averaged over the processes by DDP, over gloo on CPUs and NCCL on GPUs.

    Raises:
        CrossreidError: bf16 is requested on a CPU that announces but does not support it, or fp16 on any CPU.
    """
    on_cpu = options.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and options.precision == "bf16-mixed":
        refuse_broken_bf16()
    if on_cpu and options.precision == "16-mixed" and not torch.backends.mps.is_available():
        raise CrossreidError(
            "training.precision=16-mixed: CPUs cannot train in fp16, and bf16 instead would not be what the recipe says. Use "
            "training.precision=bf16-mixed or 32-true, with --continue-with for a run that began on a GPU."
        )
    several = options.devices * options.nodes > 1
    # Gradients are sent while those of earlier layers are computed, from the memory they are computed into. The graph
    # is not static: some terms may start later than others, for example that of a memory of batches.
    strategy: Any = DDPStrategy(find_unused_parameters=False, gradient_as_bucket_view=True) if several else "auto"
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=options.precision,
        strategy=strategy,
    )
    fabric.launch()
    if several:
        atexit.register(_disconnect)
    return fabric


def _disconnect() -> None:
    """Close the connections to the other processes in order: a process that simply exits aborts in their threads."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def gathered(fabric: Fabric, tensor: Tensor) -> Tensor:
    """`(B, ...)` per process to `(world * B, ...)`, in process order, with gradient."""
    everyones: Tensor = _Gathered.apply(tensor, fabric.world_size)  # type: ignore[no-untyped-call]
    return everyones


class _Gathered(torch.autograd.Function):
    """One collective each way: rows are gathered into one tensor; its gradient is summed over processes and split."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, world: int) -> Tensor:
        context.rows = len(tensor)
        everyones = tensor.new_empty((world * len(tensor), *tensor.shape[1:]))
        torch.distributed.all_gather_into_tensor(everyones, tensor.contiguous())
        return everyones

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = context.rows
        if torch.distributed.get_backend() == "nccl":
            own = gradient.new_empty((rows, *gradient.shape[1:]))
            torch.distributed.reduce_scatter_tensor(own, gradient.contiguous())
            return own, None
        # Gloo implements reduce-scatter with copies to each process; reducing the whole takes a third of the time.
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        first = torch.distributed.get_rank() * rows
        return total[first : first + rows], None


def agreed_signal(fabric: Fabric, received: list[int]) -> int:
    """The signal that any of the processes received, or 0: all stop at the same step or none does."""
    number = _first(received)
    if fabric.world_size == 1:
        return number
    return int(_largest(fabric, number).read())


class StopAgreement:
    """Whether any of the processes was asked to stop; all learn it at the same step.

    On CUDA, several processes exchange this once in `EVERY` calls and read the result that many calls later, so that
    none waits; elsewhere at every call.

    Args:
        received: the list of signals that this process receives.
    """

    EVERY = 4

    def __init__(self, fabric: Fabric, received: list[int], *, every: int | None = None) -> None:
        self.fabric, self.received = fabric, received
        waits = fabric.world_size > 1 and fabric.device.type == "cuda"
        self.every = every or (self.EVERY if waits else 1)
        self._calls = 0
        self._asked: HostCopy | None = None

    def now(self) -> int:
        """The signal that any process received, or 0; this synchronises the processes."""
        return agreed_signal(self.fabric, self.received)

    def reached(self) -> int:
        """The signal that any process is known to have received, or 0; must be called by all after the same steps."""
        if self.every == 1:
            return self.now()
        self._calls += 1
        if self._calls % self.every:
            return 0
        answered, self._asked = self._asked, _largest(self.fabric, _first(self.received))
        return 0 if answered is None else int(answered.read())


def _first(received: list[int]) -> int:
    return received[0] if received else 0


def _largest(fabric: Fabric, number: int) -> HostCopy:
    """The maximum over all processes, on its way to the host."""
    largest = torch.full((), number, device=fabric.device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return HostCopy(largest)


def gathered_generators(fabric: Fabric) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The generator states of all processes: tensors named `RANK/NAME`, and facts as a list by rank."""
    tensors, facts = generator_states()
    if fabric.world_size == 1:
        return {f"0/{name}": tensor for name, tensor in tensors.items()}, [facts]
    everyones: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(everyones, (tensors, facts))
    named = {f"{rank}/{name}": tensor for rank, (states, _) in enumerate(everyones) for name, tensor in states.items()}
    return named, [facts for _, facts in everyones]


def restore_gathered_generators(fabric: Fabric, tensors: dict[str, Tensor], facts: list[dict[str, Any]]) -> None:
    """Restore this process's part of what `gathered_generators` returned; warn if the number of processes differs.

    Raises:
        ValueError: states differ in type or size from this process's.
    """
    if len(facts) != fabric.world_size:
        warnings.warn(
            f"the checkpoint was written by {len(facts)} processes, but now there are {fabric.world_size}: "
            "the run continues, but not bit-identically.",
            stacklevel=3,
        )
        return
    prefix = f"{fabric.global_rank}/"
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    for name, expected in generator_states()[0].items():
        if name in own and (own[name].dtype, own[name].shape) != (expected.dtype, expected.shape):
            raise ValueError(
                f"{prefix}{name}: expected {expected.dtype} {tuple(expected.shape)}, found {own[name].dtype}"
            )
    restore_generators(own, facts[fabric.global_rank])
