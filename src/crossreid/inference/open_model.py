"""Opening a model, whichever runtime is to compute it: a run by torch, an exported file by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import torch

from crossreid.inference.devices import device_of
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.exported_file import is_exported
from crossreid.inference.fusing import fused
from crossreid.inference.onnx_model import OnnxModel
from crossreid.inference.torch_model import TorchModel
from crossreid.runs.progress import unfinished
from crossreid.runs.stored_run import network_of, read_run


def open_model(
    path: Path, *, checkpoint: str = "best", precision: Precision = "float32", device: str | None = None,
    fuse: bool = True,
) -> EmbeddingModel:  # fmt: skip
    """Open a run's folder, of stages the last student's, or an exported .onnx file. Needs no data set and no download.

    Args:
        checkpoint: of a run, `best` or `last`.
        device: `cpu`, `cuda`, or one GPU of several, `cuda:1`; by default a GPU where there is one.
        fuse: fold batch norms into the convolutions before them, which is faster and changes no more than rounding; a
            network for analyses is better opened without.

    Raises:
        CrossreidError: what is at `path` is no model, or one that does not fit its recipe.
    """
    path, where = Path(path), device_of(device)
    if is_exported(path):
        return OnnxModel(path, where).with_precision(precision)
    run = read_run(path, checkpoint)
    network = network_of(run)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = run.preprocessing
    if fuse:
        network = fused(network, seen.height, seen.width)
    name, flip = run.recipe.method.name, run.recipe.evaluation.flip
    model = TorchModel(run.folder, network, name, seen, run.fingerprint, flip, where)
    model.trained = unfinished(run.folder)
    return model.with_precision(precision)
