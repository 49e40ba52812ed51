"""OpenVINO and NNCF without their telemetry, which reports to their makers as soon as they are imported."""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"


def leave_telemetry_out() -> None:
    """To be called before OpenVINO or NNCF is imported: they then do as where the package that reports is not installed.

    A program that imported that package itself keeps it.
    """
    if _TELEMETRY not in sys.modules:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
