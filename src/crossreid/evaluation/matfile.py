"""Reading MATLAB files up to version 7, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from crossreid.data.records import DataError

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_variable(path: Path, *names: str) -> np.ndarray:
    """The first of the variables `names` that the file holds.

    Raises `DataError` naming the file where it is missing, of version 7.3 (HDF5), damaged, or holds none of `names`.
    """
    if not path.is_file():
        raise DataError(f"{path} not found; expected a MATLAB file with the variable '{names[0]}'.")
    with path.open("rb") as stream:
        # Version 7.3 is HDF5 behind a 512-byte MATLAB header; other writers of HDF5 leave that header out.
        start = stream.read(520)
    if _HDF5 in (start[:8], start[512:520]):
        raise DataError(f"{path} is of MATLAB version 7.3 (HDF5), which is not read; save it again with `save -v7`.")
    try:
        present = [name for name, _, _ in whosmat(path)]
        chosen = next((name for name in names if name in present), None)
        if chosen is not None:
            return loadmat(path, variable_names=[chosen])[chosen]
    except Exception as error:  # scipy raises many classes for damaged files, and zlib and struct their own
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); save it again with `save -v7`.") from error
    wanted = " or ".join(f"'{name}'" for name in names)
    raise DataError(f"{path}: expected the variable {wanted}, found: {', '.join(present) or 'no variable'}.")
