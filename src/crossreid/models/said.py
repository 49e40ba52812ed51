"""Facts about a batch, set around a forward pass for layers deep inside that see only rows.

In eager mode it is a context variable, so that threads that embed concurrently do not affect each other. The compiler
cannot trace changes of those: while it traces, a plain list stands in, which leaves nothing in the compiled code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Said(Generic[T]):
    """A value that is set within a block; None outside all blocks."""

    def __init__(self, name: str) -> None:
        self._value: ContextVar[T | None] = ContextVar(name, default=None)
        self._traced: list[T | None] = []

    def get(self) -> T | None:
        """Return the value of the innermost block."""
        if torch.compiler.is_compiling() and self._traced:
            return self._traced[-1]
        return self._value.get()

    @contextmanager
    def saying(self, value: T | None) -> Iterator[None]:
        """Within the block, `get` returns `value`."""
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
