"""What every test shares: property tests draw the same examples each run and are not held to a clock."""

import atexit
import functools
import gc
import logging
import os
import sys
from pathlib import Path

import pytest
import typer.main
import typer.testing
from hypothesis import settings

# Where it is set, all tests are rewritten and compiled anew by each process that collects them, and libraries by each that starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# bf16 without AMX: the same bits on every machine, also where AMX is announced and cannot be used.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

# typer builds every command of an application anew for each call, 50 ms each; a process of the command line does it once.
typer.main.get_command = typer.testing._get_command = functools.cache(typer.main.get_command)

# A disk takes milliseconds to synchronise each file that a test writes; memory takes none, where there is enough of it.
MEMORY, ENOUGH = Path("/dev/shm"), 12 * 2**30
if MEMORY.is_dir() and "PYTEST_XDIST_WORKER" not in os.environ:
    room, pages = os.statvfs(MEMORY), Path("/proc/meminfo").read_text(encoding="utf-8")
    available = 1024 * int(pages.partition("MemAvailable:")[2].split()[0])
    if min(room.f_bavail * room.f_frsize, available) >= ENOUGH and not room.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

LONGEST = ("tests", "cli", "demo", "studies", "runs")
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items):
    """The commands and the docs first, whose tests are the longest: begun last, they would keep one process waiting for the other."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What the imports make lasts until the end: collecting garbage, Python need not look through torch, then and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # after pytest, which looks for garbage twice as it ends


@pytest.fixture(autouse=True)
def same_threads():
    """What a test does to torch's threads is undone: sums of other parts are other bits, and two processes have two cores."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def same_logging():
    """A test, or a fixture of several, that leaves warnings of ours shut off fails itself, and not a later one that reads them."""
    yield
    log = logging.getLogger("crossreid.watching")
    levels = {handler.level for handler in logging.root.handlers if type(handler).__name__ == "LogCaptureHandler"}
    assert log.isEnabledFor(logging.WARNING)
    assert levels <= {logging.NOTSET}
