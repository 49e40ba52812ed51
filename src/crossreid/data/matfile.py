"""Read MATLAB files up to version 7, with errors that say what to do, and without crashing."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.mat_elements import HEADER, variables
from crossreid.data.records import DataError

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_variable(path: Path, *names: str) -> np.ndarray:
    """Return the first of the variables `names` in the file (numbers, text or cells of these); without names, its first
    one.

    Raises `DataError` naming the file if it is missing, of version 7.3 (HDF5), damaged, or has none of `names`.
    """
    if not path.is_file():
        wanted = f" with the variable '{names[0]}'" if names else ""
        raise DataError(f"{path} not found; expected a MATLAB file{wanted}.")
    content = path.read_bytes()
    # Version 7.3 is HDF5 after a 512-byte MATLAB header; other writers of HDF5 omit that header.
    if _HDF5 in (content[:8], content[512:520]):
        raise DataError(f"{path} is of MATLAB version 7.3 (HDF5), which is not read; save it again with `save -v7`.")
    try:
        present = _of_version_4(content) if b"\0" in content[:4] else _of_version_5(content)
        chosen = _first(names, present)
        if chosen is not None:
            return present[chosen]()
    except Exception as error:  # SciPy raises many classes for damaged files, and zlib and struct their own
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); save it again with `save -v7`.") from error
    expected = "the variable " + " or ".join(f"'{name}'" for name in names) if names else "a variable"
    raise DataError(f"{path}: expected {expected}, found: {', '.join(present) or 'no variable'}.")


def _first(names: Collection[str], present: Collection[str]) -> str | None:
    return next((name for name in names or present if name in present), None)


def _of_version_5(content: bytes) -> dict[str, Callable[[], np.ndarray]]:
    """Return the variables of a version 5 to 7 file by name, each read when called; for equal names the last counts."""

    def reading(variable: Any) -> Callable[[], np.ndarray]:
        # Only this variable, because nothing else in the file has been checked.
        return lambda: _loadmat(io.BytesIO(content[:HEADER] + variable.content()))[variable.name]

    return {variable.name: reading(variable) for variable in variables(content) if variable.name}


def _of_version_4(content: bytes) -> dict[str, Callable[[], np.ndarray]]:
    """As `_of_version_5`, for version 4, for which SciPy's reader is plain Python."""
    found = _loadmat(io.BytesIO(content))
    return {name: lambda name=name: found[name] for name in found if not name.startswith("__")}  # type: ignore[misc]


def _loadmat(stream: io.BytesIO) -> dict[str, Any]:
    from scipy.io import loadmat  # imported here: it takes half a second, which most commands need not wait for

    found: dict[str, Any] = loadmat(stream)
    return found
