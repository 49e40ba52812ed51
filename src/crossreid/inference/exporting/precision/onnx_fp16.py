"""An ONNX network in fp16: inputs and outputs are float32, and so are layers with values that would not fit.

The largest fp16 value is 65504. A layer whose inputs or outputs exceed a quarter of that on the measured images stays
in float32, and so do sums of squares and powers, whose intermediate values are larger than their results. On a CPU,
ONNX Runtime computes most of an fp16 network in float32; the file is for engines that compute in fp16, and half as
large.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from crossreid.inference.exporting.precision.onnx_ranges import all_ranges
from crossreid.inference.exporting.precision.range_images import RangeImages

LARGEST = 65504.0
MARGIN = 4.0  # for other images, and for sums within a layer
# Operators with sums larger than their results, and those that the converter does not support in fp16.
IN_FLOAT32 = ("ReduceL2", "ReduceSumSquare", "ReduceSum", "ReduceMean", "Pow", "Exp", "LpNormalization")


def onnx_in_fp16(float32: Path, images: RangeImages) -> tuple[Any, list[str]]:
    """Return the float32 file as an `onnx.ModelProto` in fp16, and the layers kept in float32 because of `images`."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = onnx.load(str(float32))
    kept = too_large(model, all_ranges(float32, images))
    lowered = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32], node_block_list=kept
    )
    _join_float32(lowered)
    ONNXModel(lowered).topological_sort()  # the converter puts its casts at the end
    del lowered.metadata_props[:]
    onnx.checker.check_model(lowered)
    return lowered, kept


def too_large(model: Any, ranges: dict[str, float]) -> list[str]:
    """Return the names of nodes with an input or output whose absolute value exceeds a quarter of fp16's range."""
    over = {name for name, largest in ranges.items() if not largest <= LARGEST / MARGIN}
    return [node.name for node in model.graph.node if not over.isdisjoint({*node.input, *node.output})]


def _join_float32(model: Any) -> None:
    """Remove casts to fp16 and back between two float32 nodes, which would still lose large values."""
    import onnx

    producers = {name: node for node in model.graph.node for name in node.output}
    down = {node.output[0]: node.input[0] for node in _casts(model, (onnx.TensorProto.FLOAT16,))}
    graph_inputs: Collection[str] = {given.name for given in model.graph.input}
    for node in _casts(model, (onnx.TensorProto.FLOAT,)):
        source = down.get(node.input[0])
        if source is not None and (source in producers or source in graph_inputs):
            node.input[0] = source
    used = {name for node in model.graph.node for name in node.input} | {given.name for given in model.graph.output}
    for node in _casts(model, (onnx.TensorProto.FLOAT16,)):
        if node.output[0] not in used:
            model.graph.node.remove(node)


def _casts(model: Any, targets: Collection[int]) -> list[Any]:
    return [
        node
        for node in model.graph.node
        if node.op_type == "Cast" and next(each.i for each in node.attribute if each.name == "to") in targets
    ]
