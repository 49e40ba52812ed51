"""Import timm without torch's compiler, whose import takes twice as long as timm's and torchvision's together.

torchvision asks the compiler what it supports by a function that it imports at once but calls only when compiling; timm
excludes methods of one network from compilation by a decorator that imports it. Both are deferred until they are
called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
_UTILS, _ASKED = f"{_COMPILER}.utils", "is_compile_supported"


def import_timm() -> None:
    """Import timm; unchanged if it or the compiler is already imported."""
    if "timm" not in sys.modules and _COMPILER not in sys.modules:
        with _compiler_put_off():
            importlib.import_module("timm")


@contextmanager
def _compiler_put_off() -> Iterator[None]:
    disable = torch.compiler.disable
    sys.modules[_UTILS] = _Utils(_UTILS)
    torch.compiler.disable = _disabled_later(disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if isinstance(sys.modules.get(_UTILS), _Utils):
            del sys.modules[_UTILS]


class _Utils(ModuleType):
    """Stand-in for the compiler's module with the function that torchvision imports; all else loads the real one."""

    def __getattr__(self, name: str) -> Any:
        if name == _ASKED:
            return lambda device: getattr(importlib.import_module(_UTILS), _ASKED)(device)
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_UTILS) is self:
            del sys.modules[_UTILS]
        return getattr(importlib.import_module(_UTILS), name)


def _disabled_later(disable: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compiler.disable`, applied when the decorated function is first called."""

    def put_off(decorated: Callable[..., Any] | None = None, *given: Any, **options: Any) -> Callable[..., Any]:
        if decorated is None:
            return lambda each: put_off(each, *given, **options)

        disabled = cache(lambda: disable(decorated, *given, **options))

        @wraps(decorated)
        def called(*arguments: Any, **named: Any) -> Any:
            return disabled()(*arguments, **named)

        return called

    return put_off
