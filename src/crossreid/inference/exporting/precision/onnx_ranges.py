"""How large the tensors of an ONNX network become on images, measured by ONNX Runtime's calibrators a batch at a time."""

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
    """By tensor, the largest absolute value on these images; infinite where one is no number."""
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
    """ONNX Runtime's `TensorsData` of what operators of these types (none: all) take and give.

    Args:
        method: an `onnxruntime.quantization.CalibrationMethod`; `options` are its calibrator's.
        advance: called with the number of images of each batch. No more than a batch's activations are in memory.
    """
    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            network, list(operators), str(Path(folder) / "watched.onnx"), method, extra_options=dict(options or {})
        )
        for batch in batches:
            with redirect_stdout(io.StringIO()):  # the calibrators say which step they are at
                calibrator.collect_data(_one(batch))
            if advance is not None:
                advance(len(batch["images"]))
        with redirect_stdout(io.StringIO()):
            return calibrator.compute_data()


def _one(batch: Mapping[str, np.ndarray]) -> Any:
    """A batch as a calibrator reads it: once, then nothing."""
    from onnxruntime.quantization import CalibrationDataReader

    class Once(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Mapping[str, np.ndarray]] = iter((batch,))

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self.left, None)

    return Once()
