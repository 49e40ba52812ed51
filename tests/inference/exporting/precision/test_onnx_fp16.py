"""What would not fit into fp16 stays in float32; a reference of ONNX's own computes what the files give."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from crossreid.inference.exporting.precision.onnx_fp16 import onnx_in_fp16
from crossreid.inference.exporting.precision.range_images import RangeImages


def network(path, factor):
    """images * factor * (1 / factor), then the length of the rows: what is between is large."""
    nodes = [
        helper.make_node("Flatten", ["images"], ["rows"], name="flat"),
        helper.make_node("Mul", ["rows", "up"], ["large"], name="up"),
        helper.make_node("Mul", ["large", "down"], ["features"], name="down"),
        helper.make_node("ReduceL2", ["features", "axis"], ["embeddings"], name="length", keepdims=1),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2]),
         helper.make_tensor_value_info("modalities", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 1]),
         helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 12])],
        [numpy_helper.from_array(np.float32(factor), "up"), numpy_helper.from_array(np.float32(1 / factor), "down"),
         numpy_helper.from_array(np.array([1]), "axis")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


@pytest.mark.parametrize(("factor", "kept"), [(2.0, []), (3e4, ["up", "down"])])
def test_large_values_stay_in_float32_from_one_layer_to_the_next(factor, kept, tmp_path):
    network(tmp_path / "float32.onnx", factor)
    images = np.random.default_rng(0).normal(size=(10, 3, 2, 2)).astype(np.float32) * 3
    given = RangeImages(images, np.zeros(10, dtype=np.int64))
    lowered, found = onnx_in_fp16(tmp_path / "float32.onnx", given)
    assert found == kept
    inputs = {"images": images, "modalities": given.modalities}
    embeddings, features = ReferenceEvaluator(lowered).run(["embeddings", "features"], inputs)
    assert {embeddings.dtype, features.dtype} == {np.dtype(np.float32)}, "inputs and outputs stay float32"
    rows = images.reshape(10, -1)
    np.testing.assert_allclose(features, rows, rtol=2e-3)
    np.testing.assert_allclose(embeddings, np.linalg.norm(rows, axis=1, keepdims=True), rtol=2e-3)
