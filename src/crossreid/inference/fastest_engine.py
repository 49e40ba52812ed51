"""The engine that embeds fastest on this machine, among torch and a run's exported files, by measurement."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch

from crossreid.data.addresses import Place
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding_files import EMBEDDINGS, read_about
from crossreid.inference.bulk.folder import PARTS, PLAN
from crossreid.inference.bulk.plan import read_plan
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.engines.names import ENGINES, FASTEST, Engine, parse_engine
from crossreid.inference.exporting.exported_file import SUFFIXES, is_exported
from crossreid.inference.open_by_engine import open_by_engine
from crossreid.runs.named_network import pretrained_at
from crossreid.runs.stored_run import run_folder

WORTH_IT = 1.1  # torch explains what it computes, so another engine must be clearly faster
EQUAL = 1e-4  # largest difference in any value of an embedding
ROUNDS, SECONDS = 3, 10.0


def fastest_engine(
    run: Path, *, checkpoint: str = "best", device: str | None = None, batch: int = 64
) -> tuple[Engine, str]:
    """Return torch, or the exported file that gives the same embeddings at least 1.1 times as fast; and the reason.

    All embed `batch` noise images in float32 in turn, three times or for about 10 seconds. Files that cannot be opened
    here, are of other weights or give different embeddings (int8 or fp16) are left out, and the reason names them.

    Raises:
        CrossreidError: `run` is an exported file, which has one engine, or a network that was not trained here.
    """
    if is_exported(run) or pretrained_at(run) is not None:
        raise CrossreidError(
            f"--engine {FASTEST} chooses among torch and the files that `crossreid export` made of a run; {run} is no run. Leave it "
            "out."
        )
    models: dict[Engine, EmbeddingModel] = {
        "torch": open_by_engine(run, "torch", checkpoint=checkpoint, precision="float32", device=device)
    }
    notes = []
    for engine in ENGINES:
        if engine in SUFFIXES and (run_folder(run) / f"model{SUFFIXES[engine]}").is_file():
            try:
                models[engine] = open_by_engine(run, engine, checkpoint=checkpoint, device=device)
            except CrossreidError as error:
                notes.append(f"{engine} skipped: {str(error).rstrip('.')}")
    if len(models) == 1:
        return "torch", "; ".join(["there is no other file of this run", *notes])
    seen = models["torch"].preprocessing
    images = torch.randn(batch, 3, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    modalities = torch.arange(batch) % 2
    rows = {}
    for engine, model in list(models.items()):
        try:
            rows[engine] = model.embed(images, modalities)  # warm-up: the first call is not representative
        except CrossreidError as error:  # a file for batches of another size
            notes.append(f"{engine} left out: {str(error).rstrip('.')}")
        else:
            difference = float((rows[engine] - rows["torch"]).abs().max())
            if difference <= EQUAL:
                continue
            notes.append(f"{engine} left out: its embeddings differ from torch's by {difference:.1e}")
        del models[engine]
    seconds = _seconds(models, images, modalities)
    gains = {engine: seconds["torch"] / taken for engine, taken in seconds.items()}
    best = max(gains, key=lambda engine: gains[engine])
    chosen: Engine = best if gains[best] >= WORTH_IT else "torch"
    measured = ", ".join(f"{engine} {gain:.2f}" for engine, gain in gains.items() if engine != "torch")
    said = [f"times torch's speed: {measured}"] if measured else []
    return chosen, "; ".join([*said, *notes])


def _seconds(
    models: dict[Engine, EmbeddingModel], images: torch.Tensor, modalities: torch.Tensor
) -> dict[Engine, float]:
    """Return the median seconds of each engine, measured in turn."""
    taken: dict[Engine, list[float]] = {engine: [] for engine in models}
    begun = time.perf_counter()
    while len(taken["torch"]) < ROUNDS and (not taken["torch"] or time.perf_counter() - begun < SECONDS):
        for engine, model in models.items():
            start = time.perf_counter()
            model.embed(images, modalities)
            taken[engine].append(time.perf_counter() - start)
    return {engine: median(each) for engine, each in taken.items()}


def engine_of_job(out: Place) -> Engine | None:
    """Return the engine of the embedding job at `out`, finished or not; None if there is none."""
    if (out / PARTS / PLAN).is_file():
        return parse_engine(read_plan(out / PARTS).runtime)
    return parse_engine(read_about(out).get("runtime", "torch")) if (out / EMBEDDINGS).is_file() else None
