"""What is said of a batch around a forward pass, for layers deep inside that see rows alone.

In ordinary code it is a context variable, so that threads that embed side by side do not hear each other. The compiler traces
no change of those: while it looks on, a plain list stands in, of which nothing is left when the pass is traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Said(Generic[T]):
    """A value that holds within a block; None outside of all blocks."""

    def __init__(self, name: str) -> None:
        self._value: ContextVar[T | None] = ContextVar(name, default=None)
        self._traced: list[T | None] = []

    def get(self) -> T | None:
        """What the innermost block says."""
        if torch.compiler.is_compiling() and self._traced:
            return self._traced[-1]
        return self._value.get()

    @contextmanager
    def saying(self, value: T | None) -> Iterator[None]:
        """Within, `get` returns `value`."""
        if torch.compiler.is_compiling():
            self._traced.append(value)
            try:
                yield
            finally:
                self._traced.pop()
            return
        token = self._value.set(value)
        try:
            yield
        finally:
            self._value.reset(token)
