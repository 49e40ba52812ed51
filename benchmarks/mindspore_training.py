"""Variational distillation by torch and by MindSpore: scores and images per second, alternating in one run.

    python benchmarks/mindspore_training.py --identities 32 --epochs 2 --seeds 0-1 \\
        --out benchmarks/results/mindspore_training_cpu.json

Both train on the same rendered world with the same recipe and seeds, so from the same weights on the same batches; they
alternate. Images per second are the median over the steps after the first epoch, which includes one-time costs of a
framework. Run it in the environment of `make setup-mindspore`.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from crossreid.cli.parsing import numbers
from crossreid.data.synthetic import synthesise
from crossreid.files import json_rows, write_json
from crossreid.mindspore.training import train as train_in_mindspore
from crossreid.runs.evaluate import evaluate
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.train import train as train_in_torch
from machine import machine

RECIPE = SHIPPED / "vd_synthetic.yaml"
TRAIN = {"torch": train_in_torch, "mindspore": train_in_mindspore}


def measured(recipe: Recipe, framework: str, out: Path) -> dict[str, float]:
    """Rank-1 and mAP of a run, and the images per second of its training."""
    TRAIN[framework](recipe, out)
    score = evaluate(out)[0]
    steps = [row for row in json_rows(out / "metrics.jsonl") if "losses" in row]
    later = [row["images_per_second"] for row in steps if row["epoch"] > 0]
    return {"rank-1": score.rank(1), "mAP": score.mAP, "images_per_second": median(later)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over seeds by framework, and MindSpore's speed as a share of torch's, pair by pair."""
    found: dict[str, Any] = {}
    for framework in TRAIN:
        own = [row for row in rows if row["framework"] == framework]
        for figure in ("rank-1", "mAP", "images_per_second"):
            values = [row[figure] for row in own]
            found[f"{framework}/{figure}"] = {
                "mean": mean(values),
                "deviation": stdev(values) if len(values) > 1 else 0.0,
            }
    speed = {(row["seed"], row["framework"]): row["images_per_second"] for row in rows}
    found["speed"] = median(speed[seed, "mindspore"] / speed[seed, "torch"] for seed in {row["seed"] for row in rows})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-1", help="Numbers and ranges.")
    parser.add_argument("--identities", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        world = synthesise(
            Path(place) / "world", "sysu-mm01", arguments.identities, 0, images_per_camera=8, size=(128, 64)
        )
        for seed in numbers(arguments.seeds):
            for framework in TRAIN:
                given = [
                    f"data.root={world}", f"training.seed={seed}", f"training.epochs={arguments.epochs}",
                    f"training.validate_every={arguments.epochs}", "training.accelerator=cpu",
                ]  # fmt: skip
                out = Path(place) / f"{framework}-{seed}"
                rows.append(
                    {"seed": seed, "framework": framework, **measured(load_recipe(RECIPE, given), framework, out)}
                )
                print(rows[-1], flush=True)
    told = {
        "machine": machine() | {"mindspore": version("mindspore")},
        "recipe": RECIPE.name,
        "identities": arguments.identities,
        "epochs": arguments.epochs,
        "rows": rows,
        "summary": summary(rows),
    }
    print(told["summary"])
    if arguments.out:
        write_json(arguments.out, told)


if __name__ == "__main__":
    main()
