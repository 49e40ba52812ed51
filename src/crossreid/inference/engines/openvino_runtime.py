"""OpenVINO and NNCF without their telemetry, which reports to their makers on import."""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"


def leave_telemetry_out() -> None:
    """Make OpenVINO and NNCF behave as if the telemetry package were not installed. Call it before importing them.

    A program that has already imported that package keeps it.
    """
    if _TELEMETRY not in sys.modules:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
