"""Triton's model repository: parsed by Triton's own schema, and of the shapes that the exported file has."""

import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from crossreid.inference.exporting.platforms.tensors import FileTensor
from crossreid.inference.exporting.platforms.triton import config_text, triton_name
from exported_run import exported_run
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone as tiny_backbone
from typed_commands import refused

TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}


def parsed(text):
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def served_shape(tensor):
    """What Triton hands to a model of each row: `reshape`'s, where it is there."""
    return list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)


@pytest.mark.parametrize("batch", [None, 3])
def test_the_configuration_is_of_the_file(batch, tmp_path, tiny_backbone):
    run, exported, platforms = exported_run(
        tmp_path, "baseline", batch=batch, platforms=["triton"], network=TINY_NETWORK
    )
    inside = platforms["triton"].folder
    config = parsed((inside / "config.pbtxt").read_text())
    assert config.name == inside.name, "tritonserver asks for that"
    assert inside.parent == run / "model.onnx.triton"
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0 if batch else 8)
    assert config.HasField("dynamic_batching") == (batch is None)
    assert [group.count for group in config.instance_group] == [1]
    served = inside / "1" / "model.onnx"
    assert served.read_bytes() == exported.path.read_bytes()
    graph = onnx.load(served).graph
    for ours, theirs in ((config.input, graph.input), (config.output, graph.output)):
        assert [each.name for each in ours] == [each.name for each in theirs]
        for mine, own in zip(ours, theirs, strict=True):
            kind = own.type.tensor_type
            shape = [each.dim_value for each in kind.shape.dim]
            assert served_shape(mine) == (shape if batch else shape[1:])
            assert list(mine.dims), "Triton has no empty dims"
            assert model_config_pb2.DataType.Name(mine.data_type) == TYPES[kind.elem_type]
    assert sorted(path.name for path in inside.rglob("*") if path.is_file()) == ["config.pbtxt", "model.onnx"]


def test_an_openvino_model_is_served_by_that_backend_on_a_cpu():
    tensors = [FileTensor("images", "float32", (-1, 3, 8, 4)), FileTensor("modalities", "int64", (-1,))]
    config = parsed(
        config_text("run", "openvino", tensors, [FileTensor("embeddings", "float32", (-1, 5))], 4, "f" * 64)
    )
    assert config.backend == "openvino"
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    assert [served_shape(each) for each in config.input] == [[3, 8, 4], []]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_any_name_parses_to_itself(name):
    tensors = [FileTensor(name, "float32", (-1, 5))]
    config = parsed(config_text(name, "onnx", tensors, tensors, 4, "f" * 64))
    assert (config.name, config.input[0].name) == (name, name)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_model_is_called_as_a_folder_and_an_address_can_be(name):
    from pathlib import Path

    made = triton_name(Path("/nowhere") / name)
    assert made
    assert made.isascii()
    assert all(each.isalnum() or each in "_.-" for each in made)
    assert not made.startswith(".")


def test_what_triton_does_not_take_is_refused(tmp_path, capsys):
    assert "takes --to onnx or openvino; found --to torch-export" in refused(
        capsys, "export", tmp_path, "--to", "torch-export", "--for", "triton"
    )
    assert "Did you mean 'triton'?" in refused(capsys, "export", tmp_path, "--for", "tritton")
    assert "--max-batch 0: expected 1 or more" in refused(
        capsys, "export", tmp_path, "--for", "triton", "--max-batch", "0"
    )
    assert "--max-batch 4 is for --for" in refused(capsys, "export", tmp_path, "--max-batch", "4")
