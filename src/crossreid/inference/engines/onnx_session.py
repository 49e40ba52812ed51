"""Networks opened by ONNX Runtime: exported models, and detectors of other people."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from crossreid.errors import CrossreidError
from crossreid.extras import needed


def session_of(network: bytes | str, path: Path, device: torch.device, refusal: Callable[[str], CrossreidError]) -> Any:
    """The session of a network, given as the content of its file or as the path of it.

    Args:
        path: of the file, for messages.
        refusal: makes the error of a network that cannot be opened, from the reason that ONNX Runtime gives.

    Raises:
        CrossreidError: that one, or ONNX Runtime is not installed.
    """
    onnxruntime = needed("onnxruntime", str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = providers_for(device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(network, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes share no other base
        raise refusal(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What an error of ONNX Runtime says, without the lines about where it was found."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def providers_for(device: torch.device, available: Collection[str]) -> list[Any]:
    """What ONNX Runtime computes with: on a GPU that very one, as far as it can, and else the CPU."""
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in available
    return [
        *([("CUDAExecutionProvider", {"device_id": device.index or 0})] if on_gpu else []),
        "CPUExecutionProvider",
    ]
