"""Functions compiled by numba and cached on disk across processes, if there is a folder for the cache.

The cache is beside the source or, if that is read-only, in the user's cache folder (or NUMBA_CACHE_DIR); files are
replaced as a whole, so that several processes may start at once. Without a cache, each process compiles for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def compile_later(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder for a cache
            return njit(nogil=True, **options)(function)

    return compile_later
