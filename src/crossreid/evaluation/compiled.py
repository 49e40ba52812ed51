"""Functions compiled by numba, and kept on disk from one process to the next where there is a place for it.

The place is beside the source or, where that is read-only, in the user's cache folder (or NUMBA_CACHE_DIR); files are replaced
whole, so that several processes may start at once. Where there is none, each process compiles for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def compile_later(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # nowhere to keep it
            return njit(nogil=True, **options)(function)

    return compile_later
