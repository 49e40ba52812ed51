"""fp16 and int8 against float32: images per second per core, cosines, scores, int8 queries with float32 galleries.

    python benchmarks/quantisation.py RUN [--set data.root=DIR] [--calibration-images 300] [--rounds 5] [--json FILE]

RUN is a run whose data set is available, or backbone:NAME,size=HxW,flip=false,weights=FILE with `--set
data.name=manifest --set data.root=FILE.csv`. Each round passes the same test images to every engine in turn; ratios are
computed per round, and their median is reported. Time is processor time of all threads together, since other work may
share the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parent))  # for machine.py, also where this file is run from elsewhere

from crossreid.data.records import in_order
from crossreid.evaluation.embedding import embed
from crossreid.evaluation.features import features_of
from crossreid.files import write_json
from crossreid.inference.embedding_model import EmbeddingModel, prepared
from crossreid.inference.exporting.export import export
from crossreid.inference.exporting.precision.fidelity import ModelAsNetwork, ScoredPart, scored_parts
from crossreid.inference.exporting.precision.lowering import Lowering, data_at_hand
from crossreid.inference.open_model import open_model
from crossreid.runs.scoring import reading, score_features
from machine import machine

BATCH = 32


def speeds(models: dict[str, EmbeddingModel], images: torch.Tensor, kinds: torch.Tensor, rounds: int) -> dict[str, Any]:
    """Images per second of a core by each model in each round, and the median of its ratio to float32 in ONNX Runtime."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):  # the first, in which everything is prepared, is not counted
        for name, model in models.items():
            start = time.process_time()
            for first in range(0, len(images), BATCH):
                model.embed(images[first : first + BATCH], kinds[first : first + BATCH])
            if turn:
                taken[name].append(len(images) / (time.process_time() - start))
    base = taken["onnx float32"]
    ratios = {name: median(a / b for a, b in zip(found, base, strict=True)) for name, found in taken.items()}
    return {"images_per_core_second": taken, "times_onnx_float32": ratios}


def mixed(reference: EmbeddingModel, lower: EmbeddingModel, part: ScoredPart) -> dict[str, dict[str, float]]:
    """mAP and rank-1 of queries by one and a gallery by the other, each of the four ways."""
    records = in_order({*part.split.query, *part.split.gallery})
    asks = set(part.split.query)
    query = np.array([record in asks for record in records])[:, None]
    rows = [embed(ModelAsNetwork(model), records, **reading(part.recipe)) for model in (reference, lower)]
    found = {}
    for (asked, one), (answered, other) in product(zip(("float32", "lower"), rows, strict=True), repeat=2):
        features = features_of(part.split.query, part.split.gallery, np.where(query, one, other))
        score = score_features(features, part.split, part.recipe)[0]
        found[f"{asked} asks {answered}"] = {"mAP": score.mAP, "rank-1": score.rank(1)}
    return found


def markdown_table(result: dict[str, Any]) -> str:
    """What docs/export.md shows: each file beside float32 in ONNX Runtime, and what it costs."""
    lines = [
        "| file | times `onnx` float32 | mean cosine | least cosine | mAP | rank-1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    full = next((cost["scores"] for cost in result["costs"].values() if cost.get("scores")), {})
    for name, ratio in result["times_onnx_float32"].items():
        cost: dict[str, Any] = result["costs"].get(name, {})
        cosines = [f"{cost[key]:.4f}" if key in cost else "" for key in ("mean_cosine", "least_cosine")]
        scores = [
            f"{100 * cost['scores'][key][1]:.2f}" if "scores" in cost
            else f"{100 * full[key][0]:.2f}" if name == "torch float32" else ""
            for key in ("mAP", "rank-1")
        ]  # fmt: skip
        lines.append(f"| {' | '.join([name, f'{ratio:.2f}', *cosines, *scores])} |")
    return "\n".join(lines)


def mixed_table(result: dict[str, Any]) -> str:
    """What docs/export.md shows: mAP and rank-1 of queries by one and a gallery by the other."""
    lines = ["| int8 by | queries | gallery | mAP | rank-1 |", "|---|---|---|---:|---:|"]
    for name, found in result["mixed"].items():
        for pair, score in found.items():
            asked, _, answered = pair.replace("lower", "int8").partition(" asks ")
            figures = f"{100 * score['mAP']:.2f} | {100 * score['rank-1']:.2f}"
            lines.append(f"| {name.partition(' ')[0]} | {asked} | {answered} | {figures} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--calibration-images", type=int, default=300)
    parser.add_argument("--targets", nargs="+", default=["onnx", "openvino"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=128, help="images timed per round")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    how = Lowering(given.calibration_images, given.set)
    reference = open_model(given.run, device="cpu")
    found = data_at_hand(reference, "onnx", "int8", how)
    assert found.split is not None
    assert found.recipe is not None
    part = scored_parts(found.split, found.recipe)[0]
    models, costs, mixtures = {"torch float32": reference}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for target, precision in product(given.targets, ("float32", "fp16", "int8")):
            name = f"{target} {precision}"
            out = Path(folder) / f"{precision}{'.onnx' if target == 'onnx' else '.xml'}"
            written = export(given.run, target, out, precision=precision, lowering=how)
            models[name] = open_model(out)
            costs[name] = asdict(written.fidelity) if written.fidelity else {"difference": written.difference}
            if precision == "int8":
                mixtures[name] = mixed(reference, models[name], part)
        images, kinds = prepared(reference, in_order({*part.split.query, *part.split.gallery})[: given.images])
        timed = speeds(models, images, kinds, given.rounds)
    facts = machine() | {"threads": torch.get_num_threads(), "batch": BATCH}
    result = {"machine": facts, **timed, "costs": costs, "mixed": mixtures}
    print(markdown_table(result))
    print()
    print(mixed_table(result))
    if given.json:
        write_json(given.json, result)


if __name__ == "__main__":
    main()
