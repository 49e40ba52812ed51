"""A model repository for NVIDIA Triton: NAME/config.pbtxt and NAME/1/ with the exported file.

The format follows Triton's model_configuration page and its ModelConfig message. An ONNX file is served by the backend
onnxruntime, an OpenVINO model by the backend openvino, on a CPU. No `tritonserver` was run here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from crossreid.files import replacing, write_text
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported import Exported, Target
from crossreid.inference.exporting.platforms.tensors import FileTensor, tensors_of

_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64"}
_BACKENDS: dict[Target, tuple[str, str]] = {"onnx": ("onnxruntime", "KIND_AUTO"), "openvino": ("openvino", "KIND_CPU")}
_DELAY = 2000  # maximum microseconds that a request waits for others


def write_triton(model: TorchModel, exported: Exported, folder: Path, batch: int) -> Path:
    """Write the repository into `folder`; return the model's folder in it. A fixed batch size replaces `batch`."""
    name = triton_name(exported.path if model.method == "pretrained" else model.source)
    inside = folder / name
    target = exported.target
    model_file = "model.onnx" if target == "onnx" else "model.xml"
    pairs = [(exported.path, inside / "1" / model_file)]
    if target == "openvino":  # the weights first: a polling server reads the .xml
        pairs.insert(0, (exported.path.with_suffix(".bin"), inside / "1" / "model.bin"))
    for source, place in pairs:
        with replacing(place, durable=True) as temporary:
            shutil.copyfile(source, temporary)
    inputs, outputs = tensors_of(exported.path, target)
    write_text(inside / "config.pbtxt", config_text(name, target, inputs, outputs, batch, model.fingerprint))
    return inside


def triton_name(source: Path) -> str:
    """Return a model name for a run: letters, digits, `_`, `-` and `.`, as it names a folder and is part of URLs."""
    stem = source.name if source.is_dir() else source.stem
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem or source.resolve().name).strip("-.")
    return name or "crossreid"


def config_text(
    name: str, target: Target, inputs: list[FileTensor], outputs: list[FileTensor], batch: int, fingerprint: str
) -> str:
    """Return the text of config.pbtxt. Triton batches requests only if the file accepts any batch size."""
    backend, kind = _BACKENDS[target]
    any_batch = all(each.shape[0] == -1 for each in (*inputs, *outputs))
    lines = [
        "# Written by crossreid; not run here. Images are prepared by the client, as the model card says.",
        f"# Fingerprint of the weights: {fingerprint}",
        f"name: {_quoted(name)}",
        f"backend: {_quoted(backend)}",
        f"max_batch_size: {batch if any_batch else 0}",
        *_tensors("input", inputs, any_batch),
        *_tensors("output", outputs, any_batch),
        *([f"dynamic_batching {{ max_queue_delay_microseconds: {_DELAY} }}"] if any_batch else []),
        f"instance_group [ {{ count: 1, kind: {kind} }} ]",
    ]
    return "\n".join(lines) + "\n"


def _tensors(what: str, tensors: list[FileTensor], any_batch: bool) -> list[str]:
    return [
        f"{what} [",
        ",\n".join(
            f"  {{ name: {_quoted(each.name)}, data_type: {_TYPES[each.dtype]}, {_dims(each, any_batch)} }}"
            for each in tensors
        ),
        "]",
    ]


def _dims(tensor: FileTensor, any_batch: bool) -> str:
    shape = tensor.shape[1:] if any_batch else tensor.shape
    if not shape:  # one number per row: Triton has no empty dims, but removes an axis of 1
        return "dims: [ 1 ], reshape { shape: [ ] }"
    return f"dims: [ {', '.join(map(str, shape))} ]"


def _quoted(text: str) -> str:
    from google.protobuf.text_encoding import CEscape

    return f'"{CEscape(text, as_utf8=True)}"'
