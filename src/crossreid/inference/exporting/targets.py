"""Export targets: for each, how the network and its facts are written, and which packages must be installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.extras import require
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting import onnx_file, openvino_file, program_file
from crossreid.inference.exporting.exported import Target
from crossreid.inference.exporting.exported_file import SUFFIXES
from crossreid.inference.exporting.onnx_graph import write_onnx
from crossreid.inference.exporting.openvino_graph import write_openvino
from crossreid.inference.exporting.program_graph import write_program


@dataclass(frozen=True, slots=True)
class Format:
    """How a target is written.

    Attributes:
        title: its name for people.
        write: `(model, path, batch)`, writes the network in float32 without facts.
        state_facts: `(path, facts)`, writes the facts into a file, replacing existing ones.
        companions: suffixes of the files that belong to the main one.
        modules: the modules that must be installed.
        fused: whether batch norms are folded first, which the runtimes of other targets do themselves.
    """

    title: str
    write: Callable[[TorchModel, Path, int | None], None]
    state_facts: Callable[[Path, Mapping[str, Any]], None]
    companions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    fused: bool = False


TARGETS: dict[Target, Format] = {
    "onnx": Format(
        "ONNX", write_onnx, onnx_file.state_facts, modules=("onnx", "onnxruntime")
    ),
    "openvino": Format(
        "OpenVINO", write_openvino, openvino_file.state_facts, companions=(".bin",), modules=("openvino",)
    ),
    "torch-export": Format("a program of torch.export", write_program, program_file.state_facts, fused=True),
}  # fmt: skip


def format_of(target: str) -> Format:
    """Return the format of a target.

    Raises:
        CrossreidError: there is no such target, or its packages are not installed.
    """
    if target not in TARGETS:
        raise CrossreidError(f"--to {target!r}: expected {', '.join(TARGETS)}.")
    found = TARGETS[target]
    require(f"exporting to {target}", *found.modules)
    return found


def refuse_name(out: Path, target: Target) -> None:
    """Raise `CrossreidError` for a name by which the file could not be opened, or a file that cannot be written."""
    suffix = SUFFIXES[target]
    if out.is_dir():
        raise CrossreidError(f"{out} is a folder. Expected a file name, for example {out / f'model{suffix}'}.")
    if out.suffix.lower() != suffix:
        raise CrossreidError(
            f"{out} does not end in {suffix}, which tells an exported file from a run. Expected for example {out.name}{suffix}."
        )
