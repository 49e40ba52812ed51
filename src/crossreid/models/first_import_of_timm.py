"""timm, imported without torch's compiler: importing this module is what makes every later `import timm` quick.

timm and torchvision import torch._dynamo for two names that nothing here calls: the one asks whether a device can compile, the
other marks a function as not to be compiled. That is 900 modules and a third of the time until a command begins. Here both names
stand in for themselves until they are first called; whoever compiles gets the real ones. Training imports the compiler
anyway, with its first optimiser.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch.compiler

_WITH_COMPILER = "torch._dynamo.utils"


class _StandIn(ModuleType):
    """`torch._dynamo.utils` while torchvision is imported; any other name is looked up in the real module."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> Any:
        return importlib.import_module(_WITH_COMPILER).is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import itself asks for
            raise AttributeError(name)
        _forget(self)
        return getattr(importlib.import_module(_WITH_COMPILER), name)


def _forget(stand_in: ModuleType) -> None:
    if sys.modules.get(_WITH_COMPILER) is stand_in:
        del sys.modules[_WITH_COMPILER]


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Leave torch._dynamo unimported by what is imported inside; nothing is done where it is imported already."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    disable = torch.compiler.disable

    def disable_when_called(fn: Callable[..., Any] | None = None, *arguments: Any, **options: Any) -> Any:
        if fn is None:
            return functools.partial(disable_when_called, *arguments, **options)
        real: list[Callable[..., Any]] = []

        @functools.wraps(fn)
        def call(*own: Any, **named: Any) -> Any:
            if not real:
                real.append(disable(fn, *arguments, **options))
            return real[0](*own, **named)

        return call

    stand_in = _StandIn(_WITH_COMPILER)
    sys.modules[_WITH_COMPILER] = stand_in
    torch.compiler.disable = disable_when_called  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        _forget(stand_in)


with compiler_left_out():
    import timm  # noqa: F401
