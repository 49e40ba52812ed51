"""Opening a model with a given engine: for a run, the file that `crossreid export` made of it."""

from __future__ import annotations

from pathlib import Path

from crossreid.errors import CrossreidError
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.engines.names import Engine
from crossreid.inference.exporting.exported_file import SUFFIXES, target_of
from crossreid.inference.open_model import open_model
from crossreid.runs.named_network import pretrained_at
from crossreid.runs.stored_run import run_fingerprint, run_folder


def open_by_engine(
    run: Path, engine: Engine | None, *, checkpoint: str = "best", precision: Precision | None = None,
    device: str | None = None,
) -> EmbeddingModel:  # fmt: skip
    """Open a run with torch, or its RUN/model.onnx (.xml, .pt2) with another engine; an exported file with its own.

    Raises:
        CrossreidError: no model, an engine that cannot run it, or a file exported from weights other than the run's.
    """
    own = target_of(run)
    if own is not None and engine not in (None, own):
        way_out = "for torch, name the run's folder" if engine == "torch" else f"for {engine} name a file of it"
        raise CrossreidError(f"{run} is a file for --engine {own}; {way_out}.")
    if engine is None or engine == "torch" or own is not None:
        return open_model(run, checkpoint=checkpoint, precision=precision, device=device)
    suffix = SUFFIXES[engine]
    if pretrained_at(run) is not None:
        raise CrossreidError(
            f"--engine {engine}: for a network that was not trained here, make the file first, crossreid export --backbone NAME --to "
            f"{engine} --out FILE{suffix}, and name it in the network's place."
        )
    path = run_folder(run) / f"model{suffix}"
    again = f"crossreid export {run} --to {engine}{'' if checkpoint == 'best' else f' --checkpoint {checkpoint}'}"
    if not path.is_file():
        raise CrossreidError(f"{path} not found. Make it first: {again}")
    model = open_model(path, precision=precision, device=device)
    expected = run_fingerprint(run, checkpoint)
    if model.fingerprint != expected:
        raise CrossreidError(
            f"{path} is not from the run's current {checkpoint} checkpoint: its fingerprint is {model.fingerprint[:12]}..., the "
            f"run's {expected[:12]}.... Export it again: {again}"
        )
    return model
