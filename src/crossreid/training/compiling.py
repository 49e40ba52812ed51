"""A step's losses and their gradient compiled as a whole by torch.compile, without a break in the graph.

If that is impossible, one line says why, and the encoders are compiled alone, as by `torch.nn.Module.compile`.
On a GPU the graph is replayed as a CUDA graph if its shapes are fixed, and otherwise run as is. A change of shape, or
of a Python number that the losses read, causes another compilation.
"""

from __future__ import annotations

import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from crossreid.training.options import TrainingOptions

Losses = Callable[[Any], dict[str, Tensor]]


class Compilable(Protocol):
    """What is compiled; a method's `composed`, if any, gives a batch everything its losses would read from a device."""

    @property
    def encoders(self) -> Any: ...

    def losses(self, batch: Any) -> dict[str, Tensor]: ...


def compile_losses(
    method: Compilable,
    options: TrainingOptions,
    device: torch.device,
    *,
    processes: int = 1,
    say: Callable[[str], None] = print,
    backend: Any = "inductor",
) -> Losses:
    """`method.losses`, compiled when it is first called; `method` itself, its copies and its state stay as they are.

    Terms returned by a CUDA graph are overwritten by the next call.

    Args:
        processes: of the run. say: called with a line on what was compiled and how long it took, or why it was not.
        backend: of torch.compile, for tests.
    """
    against = _refusal(options, processes)
    if against:
        say(f"training.compile: {against}, so only the encoders are compiled.")
        compile_encoders(method)
        return method.losses
    # A CUDA graph's gradients are in its own memory, which the next batch of a group would overwrite.
    graphs = backend == "inductor" and device.type == "cuda" and options.accumulate == 1
    return _CompiledLosses(method, say=say, backend=backend, graphs=graphs)


def compile_encoders(method: Compilable) -> None:
    """Compile the networks that take images, each by itself, in place."""
    for encoder in method.encoders:
        encoder.compile()


def _refusal(options: TrainingOptions, processes: int) -> str:
    if processes > 1:
        return f"losses compare images across {processes} processes, which exchange them within a step"
    if options.checkpoint_activations:
        return "training.checkpoint_activations recomputes activations in a way that cannot be traced"
    return ""


class _CompiledLosses:
    def __init__(self, method: Compilable, *, say: Callable[[str], None], backend: Any, graphs: bool) -> None:
        self.method, self.say, self.graphs = method, say, graphs
        replayed: dict[str, Any] = {"triton.cudagraphs": True, "triton.cudagraph_skip_dynamic_graphs": True}
        options = replayed if graphs else None
        self.compiled: Losses | None = torch.compile(
            method.losses, fullgraph=True, backend=backend, options=options if graphs else None
        )
        self.called = False

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        if self.compiled is None:
            return self.method.losses(batch)
        # Imported late, as by torch.compile; importing the compiler takes seconds.
        from torch._dynamo.exc import TorchDynamoException

        composed = getattr(self.method, "composed", None)
        given = batch if composed is None else composed(batch)
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        begun = time.perf_counter()
        try:
            terms = self.compiled(given)
        except TorchDynamoException as error:
            self.compiled = None
            self.say(
                f"training.compile: the losses cannot be compiled as a whole, so only the encoders are: {_reason(error)}"
            )
            compile_encoders(self.method)
            return self.method.losses(batch)
        if not self.called:
            self.called = True
            replayed = ", replayed as CUDA graphs where shapes are fixed" if self.graphs else ""
            self.say(
                f"training.compile: losses and their gradient compiled as a whole in {time.perf_counter() - begun:.0f} s{replayed}."
            )
        return terms


def _reason(error: Exception) -> str:
    """The first line of the compiler's message, and the innermost source line it refers to."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    frames = [frame for frame in getattr(error, "real_stack", None) or () if frame.filename]
    if not frames:
        return f"{first}."
    libraries = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    own = [frame for frame in frames if not frame.filename.startswith(libraries)]
    at = (own or frames)[-1]
    return f"{first} ({at.name}, {Path(at.filename).name}:{at.lineno})."
