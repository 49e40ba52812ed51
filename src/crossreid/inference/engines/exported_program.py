"""An exported network as a torch.export program: run by torch without the code of its layers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.inference.engines.exported_model import ExportedModel, Signature
from crossreid.inference.exporting.exported_file import INPUTS, OUTPUTS
from crossreid.inference.exporting.program_file import read_said


class ExportedProgramModel(ExportedModel):
    """A file that `crossreid export --to torch-export` wrote.

    torch unpickles parts of such a file: open only files from sources you trust.

    Raises:
        CrossreidError: no such file, torch cannot read it, it lacks what `export` writes, or the program is not the one
            described.
    """

    runtime = "torch-export"

    def __init__(self, path: Path, device: torch.device) -> None:
        said, graph = read_said(path)
        self._take(path, said, graph)
        self.device = device
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(path)
            given, found = _signatures(program)
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            self._module = program.module()
        except Exception as error:  # torch raises errors of many types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise CrossreidError(
                f"{path} cannot be opened by torch {torch.__version__} ({reason}). Export it again."
            ) from error
        self._confirm(given, found)

    @torch.inference_mode()
    def _compute(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        modalities = modalities.to(self.device, dtype=torch.int64, non_blocking=True)
        found: Tensor = self._module(images, modalities)[OUTPUTS.index(output)]
        return found.cpu()


def _signatures(program: Any) -> tuple[Signature, Signature]:
    """Return inputs and outputs, matched by position: a program names them after its layers."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}

    def described(names: Any, called: Any) -> Signature:
        return {
            name: (
                str(values[node].dtype).removeprefix("torch."),
                [size if isinstance(size, int) else None for size in values[node].shape],
            )
            for name, node in zip(called, names, strict=True)
        }

    signature = program.graph_signature
    return described(signature.user_inputs, INPUTS), described(signature.user_outputs, OUTPUTS)
