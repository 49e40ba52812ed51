"""Whether this CPU can train in bf16, and how much faster than in float32.

Processors announce bf16 units that the system does not always let programs use: a virtual machine may report AMX and
then kill the process at the first AMX instruction as illegal. So it is tried in a separate process, `python -m
crossreid.training.bf16`, which prints the gain.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time

import torch
from torch import nn

from crossreid.errors import CrossreidError

# oneDNN, torch's matrix library on CPUs, uses no instructions beyond the set of this name.
LIMIT = "ONEDNN_MAX_CPU_ISA"
WITHOUT_AMX = "AVX512_CORE_BF16"


@functools.cache
def bf16_gain() -> float | None:
    """How many times faster a small network trains in bf16 than in float32 on this CPU; None if the attempt crashes."""
    command = [sys.executable, "-m", "crossreid.training.bf16"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(ran.stdout.split()[-1]) if ran.returncode == 0 else None


def announces_amx() -> bool:
    """Whether the processor reports that it multiplies bf16 tiles."""
    # Newer than the oldest supported PyTorch.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def bf16_is_broken() -> bool:
    """Whether bf16 on this CPU would kill the process."""
    return announces_amx() and LIMIT not in os.environ and bf16_gain() is None


def refuse_broken_bf16() -> None:
    """Raise if bf16 on this CPU would kill the process, as an illegal instruction does without a message."""
    if bf16_is_broken():
        raise CrossreidError(
            "training.precision=bf16-mixed: this processor announces AMX, but using it ends in an illegal "
            f"instruction here. Set {LIMIT}={WITHOUT_AMX} in the environment, or use training.precision=32-true."
        )


def _seconds(bf16: bool) -> float:
    """The shortest of several steps of two convolutions and a product; a slow processor takes fewer steps.

    Channels come last, as in training.
    """
    network = nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.Flatten(), nn.Linear(16384, 512)
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    begun = time.perf_counter()
    for _ in range(5):
        if time.perf_counter() - begun > 1:
            break
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            network(images).float().pow(2).mean().backward()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    print(_seconds(bf16=False) / _seconds(bf16=True))
