"""The ranges of an ONNX network's tensors on images, measured by ONNX Runtime's calibrators one batch at a time."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.inference.exporting.precision.range_images import RangeImages


def all_ranges(network: Path, images: RangeImages) -> dict[str, float]:
    """Return the largest absolute value of each tensor on these images; infinite if one is NaN."""
    import onnxruntime.quantization as quantization

    found = tensor_ranges(network, images.batches(), quantization.CalibrationMethod.MinMax, ())
    return {
        name: float(np.nan_to_num(np.abs(np.asarray(data.range_value, dtype=np.float64)), nan=np.inf).max())
        for name, data in found.items()
    }


def tensor_ranges(
    network: Path,
    batches: Iterable[Mapping[str, np.ndarray]],
    method: Any,
    operators: Iterable[str],
    *,
    options: Mapping[str, Any] | None = None,
    advance: Callable[[int], object] | None = None,
) -> Any:
    """Return ONNX Runtime's `TensorsData` for the inputs and outputs of operators of these types (none: all).

    Args:
        method: an `onnxruntime.quantization.CalibrationMethod`; `options` are its calibrator's.
        advance: called with the number of images in each batch. Only one batch's activations are in memory at a time.
    """
    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            network, list(operators), str(Path(folder) / "watched.onnx"), method, extra_options=dict(options or {})
        )
        for batch in batches:
            with redirect_stdout(io.StringIO()):  # the calibrators print their steps
                calibrator.collect_data(_one(batch))
            if advance is not None:
                advance(len(batch["images"]))
        with redirect_stdout(io.StringIO()):
            return calibrator.compute_data()


def _one(batch: Mapping[str, np.ndarray]) -> Any:
    """Return a reader that gives a calibrator one batch, then nothing."""
    from onnxruntime.quantization import CalibrationDataReader

    class Once(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Mapping[str, np.ndarray]] = iter((batch,))

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self.left, None)

    return Once()
