"""The scripts of benchmarks/ as modules, for as long as a test needs them."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@contextmanager
def benchmark(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[ModuleType]:
    """The script of that name, imported; it and the scripts that it imports are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    try:
        yield importlib.import_module(name)
    finally:
        for script in BENCHMARKS.glob("*.py"):
            sys.modules.pop(script.stem, None)
