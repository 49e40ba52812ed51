"""The libraries of the extra `video`: imported when they are needed, and named where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from crossreid.errors import CrossreidError


def needed(module: str, what: str) -> Any:
    """The module, for `what`.

    Raises:
        CrossreidError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CrossreidError(f"{what} needs {module}. Install it: pip install 'crossreid[video]'.") from error
