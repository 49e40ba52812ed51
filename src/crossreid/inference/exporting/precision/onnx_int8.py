"""An ONNX network in int8 for ONNX Runtime: weights quantised per channel, activations by ranges from training images.

First, batch norms are folded and shapes inferred. Convolutions, matrix products and the operators between them are
quantised; norms, softmax and L2 normalisation stay in float32. Weights have 7 bits: on processors without VNNI sums of
8-bit products overflow 16 bits, and the cosine between embeddings of the same image would fall as low as 0.8. A range
spans the percentiles 0.01 to 99.99 of an activation, which came closer to float32 than its extremes or entropy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossreid.inference.exporting.precision.onnx_ranges import tensor_ranges
from crossreid.inference.exporting.precision.range_images import RangeImages
from crossreid.quiet import without_warnings

OPERATORS = ("Conv", "MatMul", "Gemm", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool")
PERCENTILE = 99.99


def onnx_in_int8(float32: Path, images: RangeImages, *, advance: Callable[[int], object] | None = None) -> Any:
    """Return the float32 file as an `onnx.ModelProto` in int8; the same images give the same bytes.

    `advance` is called with the number of images in each measured batch.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import save_tensors_data

    method = CalibrationMethod.Percentile
    with tempfile.TemporaryDirectory() as folder, without_warnings():
        prepared, ranges, quantised = (Path(folder) / name for name in ("prepared.onnx", "ranges.json", "int8.onnx"))
        _prepare(float32, prepared)
        found = tensor_ranges(
            prepared, images.batches(), method, OPERATORS, advance=advance,
            options={"percentile": PERCENTILE, "symmetric": False},
        )  # fmt: skip
        save_tensors_data(found, ranges)
        quantize_static(
            prepared, quantised, None, quant_format=QuantFormat.QDQ, op_types_to_quantize=list(OPERATORS),
            per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=method, calibration_cache_path=ranges,
        )  # fmt: skip
        made = onnx.load(str(quantised))
    del made.metadata_props[:]
    onnx.checker.check_model(made)
    return made


def _prepare(float32: Path, prepared: Path) -> None:
    """Fold constants and infer shapes, including symbolic ones if every operator has a rule for them."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(float32, prepared)
    except Exception:  # an operator without such a rule, which raises a plain Exception
        quant_pre_process(float32, prepared, skip_symbolic_shape=True)
