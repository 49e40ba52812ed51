"""The scripts that build a TensorRT engine: what they would call, seen by a `trtexec` and a `tensorrt` of the test's own."""

import os
import re
import subprocess
import sys
import types

import onnx
import pytest

from crossreid.inference.exporting.platforms.tensorrt import refuse_operators
from exported_run import exported_run
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module

# Of trtexec --help, as TensorRT 10's developer guide lists them.
DOCUMENTED = {
    "--onnx",
    "--saveEngine",
    "--minShapes",
    "--optShapes",
    "--maxShapes",
    "--noTF32",
    "--stronglyTyped",
    "--verbose",
}


def called(script, place, *more):
    """What the shell script gives to `trtexec`, started from elsewhere, and the folder that it is run in."""
    (place / "bin").mkdir()
    tool = place / "bin" / "trtexec"
    tool.write_text('#!/bin/sh\npwd\nfor each in "$@"; do printf "%s\\0" "$each"; done\n')
    tool.chmod(0o755)
    done = subprocess.run(
        [script, *more],
        env={"PATH": f"{place / 'bin'}:{os.environ['PATH']}"},
        cwd=place,
        capture_output=True,
        check=True,
    )
    where, _, rest = done.stdout.decode().rpartition("\n--onnx")
    return where, dict(each.partition("=")[::2] for each in f"--onnx{rest}".split("\0")[:-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone_of_module):
    place = tmp_path_factory.mktemp("tensorrt")
    return exported_run(place, "baseline", platforms=["tensorrt"], network=TINY_NETWORK)


@pytest.mark.parametrize("batch", [None, 3])
def test_the_shell_script_calls_trtexec_for_the_file(batch, made, tmp_path):
    run, exported, platforms = made
    if batch:
        given = {"platforms": ["tensorrt"], "network": TINY_NETWORK}
        run, exported, platforms = exported_run(tmp_path, "baseline", batch=batch, **given)
    folder = platforms["tensorrt"].folder
    where, options = called(folder / "build_engine.sh", tmp_path, "--verbose")
    assert where == str(folder)
    assert options.keys() <= DOCUMENTED
    assert (folder / options["--onnx"]).resolve() == exported.path.resolve()
    assert ("--noTF32" in options, "--verbose" in options) == (True, True)
    shapes = {kind: options.get(f"--{kind}Shapes") for kind in ("min", "opt", "max")}
    if batch:
        assert set(shapes.values()) == {None}
        return
    for kind, size in (("min", 1), ("opt", 4), ("max", 8)):
        assert shapes[kind] == f"images:{size}x3x48x32,modalities:{size}"
    assert not (run / "x").exists()
    assert "not run here" in (folder / "build_engine.sh").read_text()
    assert f"opset {onnx.load(exported.path).opset_import[0].version}" in (folder / "build_engine.sh").read_text()


def test_the_python_script_builds_by_the_api(made, monkeypatch):
    """Run against a module that only notes the calls: order and arguments, as TensorRT itself is not to be had here."""
    _, exported, platforms = made
    calls = []

    class Noted:
        num_errors = 0

        def __init__(self, *_):
            pass

        def __getattr__(self, name):
            def call(*given):
                calls.append((name, given))
                return (
                    b"engine" if name == "build_serialized_network" else True if name.startswith("parse") else Noted()
                )

            return call

    fake = types.ModuleType("tensorrt")
    fake.Logger = type("Logger", (Noted,), {"WARNING": 1})
    fake.Builder = fake.OnnxParser = Noted
    fake.BuilderFlag = types.SimpleNamespace(TF32="TF32")
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    script = platforms["tensorrt"].folder / "build_engine.py"
    exec(compile(script.read_text(), str(script), "exec"), {"__file__": str(script), "__name__": "__main__"})
    made = dict(calls)
    assert os.path.samefile(made["parse_from_file"][0], exported.path)
    assert ("clear_flag", ("TF32",)) in calls
    shapes = [given for name, given in calls if name == "set_shape"]
    assert shapes == [
        ("images", (1, 3, 48, 32), (4, 3, 48, 32), (8, 3, 48, 32)),
        ("modalities", (1,), (4,), (8,)),
    ]
    assert (script.parent / "model.engine").read_bytes() == b"engine"


def test_operators_that_the_parser_does_not_have_are_named(tmp_path):
    helper = onnx.helper
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy")
    for opset, operator, told in ((18, "Det", "has no Det"), (25, "Relu", "opset 25; TensorRT")):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match=re.escape(told)):
            refuse_operators(tmp_path / "odd.onnx")
