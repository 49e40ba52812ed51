"""MindSpore made ready: its device, and what it prints."""

from __future__ import annotations

import os
from typing import Literal

from crossreid.errors import CrossreidError
from crossreid.mindspore.limits import require_mindspore


def use_device(accelerator: Literal["auto", "cpu", "cuda"] = "auto") -> str:
    """Choose the device that MindSpore computes on, and return its name: `CPU`, `Ascend`, `GPU`.

    `auto` is the device that the installed MindSpore was built for.

    Raises:
        CrossreidError: MindSpore is not installed, or this process computes on another device of it already.
    """
    require_mindspore()
    os.environ.setdefault("GLOG_v", "3")  # its warnings are of its own inner workings
    import mindspore

    target = "CPU" if accelerator == "cpu" else mindspore.get_context("device_target")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        mindspore.set_device(target)
        if target == "CPU":
            mindspore.runtime.launch_blocking()  # the threads of its pipeline would wait for one another on the same cores
    except RuntimeError as error:  # this process has computed by MindSpore already, and stays where it did
        if mindspore.get_context("device_target") != target:
            raise CrossreidError(
                f"MindSpore computes on {mindspore.get_context('device_target')} in this process, expected {target}. Start "
                "another process."
            ) from error
    return str(target)
