"""Engines by name."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.inference.engines.names import ENGINES, parse_engine


def test_each_engine_has_its_name():
    assert [parse_engine(name) for name in ENGINES] == ["torch", "onnx", "openvino", "torch-export"]


@pytest.mark.parametrize("text", ["", "tensorrt", "ONNX", "onnx ", "torch-export:cpu"])
def test_another_name_is_refused_with_those_that_there_are(text):
    with pytest.raises(CrossreidError, match="expected torch, onnx, openvino or torch-export"):
        parse_engine(text)
