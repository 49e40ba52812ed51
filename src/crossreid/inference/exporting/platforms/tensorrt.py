"""Scripts that build a TensorRT engine from an exported ONNX file: with `trtexec`, and with the Python API.

TensorRT needs an NVIDIA GPU: neither was run here. The file's opset and operators are checked against the parser's list
published by NVIDIA (`tensorrt_operators`).
"""

from __future__ import annotations

import shlex
from pathlib import Path

from crossreid.errors import CrossreidError
from crossreid.files import write_text
from crossreid.inference.exporting.exported import Exported
from crossreid.inference.exporting.platforms.tensorrt_operators import OPERATORS, OPSETS, VERSION
from crossreid.inference.exporting.platforms.tensors import FileTensor, opset_of, tensors_of

SHELL, PYTHON = "build_engine.sh", "build_engine.py"

_SHELL = """\
#!/bin/sh
# Builds a TensorRT engine of an ONNX file (opset {opset}, {batch}), on the machine that is to run it: an engine is of
# one GPU and one version of TensorRT. Written by crossreid for TensorRT 10; not run here. Every operator of the file is
# on the list of TensorRT {version}'s ONNX parser. {precision}
# More options of trtexec may follow.
set -eu
cd "$(dirname "$0")"
exec trtexec --onnx={onnx} --saveEngine={engine}{options} "$@"
"""

_PYTHON = '''\
"""Builds a TensorRT engine of an ONNX file (opset {opset}, {batch}), on the machine that is to run it.

Written by crossreid for TensorRT 10; not run here. {precision}
"""

from pathlib import Path

import tensorrt as trt

HERE = Path(__file__).resolve().parent
ONNX, ENGINE = HERE / {onnx!r}, HERE / {engine!r}
SHAPES = {shapes!r}  # least, best and largest, by input; none of a file for one size of batch

logger = trt.Logger(trt.Logger.WARNING)
builder = trt.Builder(logger)
network = builder.create_network({flags})
parser = trt.OnnxParser(network, logger)
if not parser.parse_from_file(str(ONNX)):
    raise SystemExit("\\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
config = builder.create_builder_config()
{settings}
if SHAPES:
    profile = builder.create_optimization_profile()
    for name, (least, best, largest) in SHAPES.items():
        profile.set_shape(name, least, best, largest)
    config.add_optimization_profile(profile)
engine = builder.build_serialized_network(network, config)
if engine is None:
    raise SystemExit("TensorRT could not build an engine; what it printed above says why.")
ENGINE.write_bytes(engine)
'''


def write_tensorrt(exported: Exported, folder: Path, batch: int) -> Path:
    """Write both scripts into `folder`, which is beside the file; return it.

    Raises:
        CrossreidError: TensorRT's parser does not support the file's opset or an operator.
    """
    refuse_operators(exported.path)
    inputs, _ = tensors_of(exported.path, "onnx")
    shapes = profile(inputs, batch)
    half = exported.precision == "fp16"
    engine = f"{exported.path.stem}.engine"
    said = {
        "opset": opset_of(exported.path),
        "batch": f"batches of 1 to {batch}" if shapes else f"batches of {inputs[0].shape[0]} alone",
        "precision": "Types are those of the file, float16 above all."
        if half
        else "In float32: without TF32, which rounds to 10 bits.",
        "version": VERSION,
    }
    options = [*_trtexec_shapes(shapes), "--stronglyTyped" if half else "--noTF32"]
    onnx_path = f"../{exported.path.name}"
    write_text(
        folder / SHELL,
        _SHELL.format(
            **said,
            onnx=shlex.quote(onnx_path),
            engine=shlex.quote(engine),
            options="".join(f" \\\n  {one}" for one in options),
        ),
    )
    (folder / SHELL).chmod(0o755)
    strongly = "1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)"
    settings = "# Types are those of the file." if half else "config.clear_flag(trt.BuilderFlag.TF32)"
    write_text(
        folder / PYTHON,
        _PYTHON.format(
            **said, onnx=onnx_path, engine=engine, shapes=shapes, flags=strongly if half else "", settings=settings
        ),
    )
    return folder


def refuse_operators(file: Path) -> None:
    """Raise `CrossreidError` if TensorRT's parser does not support the file's opset or operators."""
    import onnx

    opset, (least, largest) = opset_of(file), OPSETS
    if not least <= opset <= largest:
        raise CrossreidError(f"{file}: opset {opset}; TensorRT {VERSION} takes {least} to {largest}.")
    used = {node.op_type for node in onnx.load(str(file)).graph.node}
    if unknown := sorted(used - OPERATORS):
        raise CrossreidError(
            f"{file}: TensorRT {VERSION}'s ONNX parser has no {', '.join(unknown)}. Serve the file by ONNX Runtime, or train a "
            "network without it. The file itself was written; the scripts for TensorRT were not."
        )


def profile(inputs: list[FileTensor], batch: int) -> dict[str, list[tuple[int, ...]]]:
    """Return each input's minimal, optimal and maximal shape for batches of 1 to `batch`; empty for a fixed size."""
    if any(each.shape[0] != -1 for each in inputs):
        return {}
    sizes = (1, max(1, batch // 2), batch)
    return {each.name: [(size, *each.shape[1:]) for size in sizes] for each in inputs}


def _trtexec_shapes(shapes: dict[str, list[tuple[int, ...]]]) -> list[str]:
    return [
        f"--{kind}Shapes=" + ",".join(f"{name}:{'x'.join(map(str, three[place]))}" for name, three in shapes.items())
        for place, kind in enumerate(("min", "opt", "max"))
        if shapes
    ]
