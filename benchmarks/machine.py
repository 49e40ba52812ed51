"""The machine that figures were measured on, which every benchmark writes beside its figures."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Of the processor's flags those that decide how fast a network runs.
FLAGS = ("avx2", "avx_vnni", "avx512", "amx")


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Processor, its flags that matter, cores, date (UTC), and the versions of Python and torch."""
    import torch

    told: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else ():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())  # of the first core
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "flags": sorted(flag for flag in told.get("flags", "").split() if flag.startswith(FLAGS)),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
