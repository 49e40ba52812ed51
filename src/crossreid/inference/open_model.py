"""Opening a model: a run or a named network with torch, an exported file with the engine it was written for."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.calibration_files import FILE
from crossreid.inference.devices import device_of
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.engines.exported_model import ExportedModel
from crossreid.inference.engines.exported_program import ExportedProgramModel
from crossreid.inference.engines.onnx_model import OnnxModel
from crossreid.inference.engines.openvino_model import OpenVinoModel
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exported_file import is_exported, target_of
from crossreid.inference.fusing import fused
from crossreid.models.lora import merged
from crossreid.runs.calibrating import read_calibration
from crossreid.runs.named_network import NOT_TRAINED, PretrainedNetwork, pretrained_at
from crossreid.runs.pretrained import named_pretrained, network_recipe, pretrained_fingerprint
from crossreid.runs.progress import unfinished
from crossreid.runs.stored_run import network_of, preprocessing_of, read_run


def open_model(
    path: Path | PretrainedNetwork, *, checkpoint: str = "best", precision: Precision | None = None,
    device: str | None = None, fuse: bool = True,
) -> EmbeddingModel:  # fmt: skip
    """Open a run's folder (for a run in stages, that of the last student), an exported file, or a pretrained network.

    A run and a file need no data set and no download.

    Args:
        checkpoint: for a run, `best` or `last`.
        precision: float32 or bf16; by default float32, for an exported file its own.
        device: `cpu`, `cuda`, or one of several GPUs, `cuda:1`; by default a GPU if available.
        fuse: fold batch norms into the convolutions before them, and adapters into their layers: faster, and the same
            up to rounding. Turn it off for analyses.

    Raises:
        CrossreidError: there is no model at `path`, or it does not fit its recipe.
    """
    where = device_of(device)
    named = path if isinstance(path, PretrainedNetwork) else pretrained_at(path)
    if named is not None:
        return _pretrained(named, where, fuse=fuse).with_precision(precision or "float32")
    path = Path(path)  # type: ignore[arg-type]
    if is_exported(path):
        if target_of(path) == "openvino" and device is not None and where.type != "cpu":
            raise CrossreidError(f"{path}: OpenVINO computes on the CPU here, not on {device}. Leave --device out.")
        exported = open_exported(path, where)
        return exported if precision is None else exported.with_precision(precision)
    run = read_run(path, checkpoint)
    network = network_of(run)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = run.preprocessing
    if fuse:
        network = fused(merged(network), seen.height, seen.width)
    name, flip = run.recipe.method.name, run.recipe.evaluation.flip
    model = TorchModel(run.folder, network, name, seen, run.fingerprint, flip, where)
    model.trained = unfinished(run.folder)
    model.calibration = calibration_of_run(run.folder, run.fingerprint)
    return model.with_precision(precision or "float32")


def open_exported(path: Path, device: torch.device) -> ExportedModel:
    """Open an exported file with the engine given by its suffix. Raises as `open_model`."""
    target = target_of(path)
    if target == "openvino":
        return OpenVinoModel(path)
    return ExportedProgramModel(path, device) if target == "torch-export" else OnnxModel(path, device)


def calibration_of_run(folder: Path, fingerprint: str) -> Calibration | None:
    """Return the calibration in a run's folder if it is of the weights of this fingerprint; warn if of others."""
    found = read_calibration(folder)
    if found is not None and found.fingerprint != fingerprint:
        warnings.warn(
            f"{folder / FILE} belongs to other weights than those opened and is ignored. Calibrate these: crossreid "
            f"calibrate {folder}.",
            stacklevel=3,
        )
        return None
    return found


def _pretrained(named: PretrainedNetwork, device: torch.device, *, fuse: bool) -> TorchModel:
    recipe = network_recipe(named)
    network, seen = named_pretrained(named, recipe), preprocessing_of(recipe)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fingerprint = pretrained_fingerprint(named, network, seen)
    if fuse:
        network = fused(network, seen.height, seen.width)
    model = TorchModel(named.path, network, "pretrained", seen, fingerprint, named.flip, device)
    model.trained = f"{NOT_TRAINED}: {named}"
    return model
