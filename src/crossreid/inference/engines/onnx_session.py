"""Networks opened by ONNX Runtime: exported models, and third-party detectors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from crossreid.errors import CrossreidError
from crossreid.extras import needed


def session_of(network: bytes | str, path: Path, device: torch.device, refusal: Callable[[str], CrossreidError]) -> Any:
    """Return a session for a network, given as the content or the path of its file.

    Args:
        path: the file, for messages.
        refusal: makes the error for a network that cannot be opened, from ONNX Runtime's reason.

    Raises:
        CrossreidError: the error from `refusal`, or ONNX Runtime is not installed.
    """
    onnxruntime = needed("onnxruntime", str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers = providers_for(device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(network, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise refusal(first_line(error)) from error


def first_line(error: Exception) -> str:
    """Return the message of an ONNX Runtime error, without the lines about where it arose."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def providers_for(device: torch.device, available: Collection[str]) -> list[Any]:
    """Return ONNX Runtime's execution providers: the chosen GPU if available, then the CPU."""
    on_gpu = device.type == "cuda" and "CUDAExecutionProvider" in available
    return [
        *([("CUDAExecutionProvider", {"device_id": device.index or 0})] if on_gpu else []),
        "CPUExecutionProvider",
    ]
