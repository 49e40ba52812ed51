"""Nyala antelopes: real photographs, scored against raw pixels and the untrained network.

Queries are pseudo-infrared by default. With `--views`, only visible photographs are used: a teacher on four photographs
of a flank from different sightings and its student on one, evaluated image to image.

There are 1,213 photographs of 179 animals (`manifest.csv`: path, identity, view; names `SIGHTING_FLANKphoto.jpg`). The
two flanks of an animal carry different patterns, so each flank is an identity; both go to the same side of the split.
The sighting is the camera, and images of the query's own sighting are excluded: the other flank, taken moments apart in
front of the same grass, is another identity.

    python benchmarks/nyala.py PHOTOGRAPHS OUT [--views] [--epochs N] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from crossreid.demo.demonstration import FROM_RANDOM_WEIGHTS, precision
from crossreid.reporting.report import report
from crossreid.runs.evaluate import evaluate
from crossreid.runs.floors import floors
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import open_split
from crossreid.runs.teacher_student import stage_recipes
from crossreid.runs.train import train


def write_manifest(photographs: Path, out: Path, seed: int = 0) -> Path:
    """Animals divided 60 / 10 / 30 into train, val and test; flanks with one sighting only are of no use in a test."""
    with (photographs / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    animals = sorted({row["identity"] for row in rows})
    order = np.random.default_rng(seed).permutation(len(animals))
    part = {}
    for place, index in enumerate(order):
        share = place / len(animals)
        part[animals[index]] = "train" if share < 0.6 else "val" if share < 0.7 else "test"
    out.mkdir(parents=True, exist_ok=True)
    path = out / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "identity", "camera", "split"))
        for row in rows:
            sighting = Path(row["path"]).name.split("_")[0]
            photograph = (photographs / row["path"]).resolve()
            writer.writerow((photograph, f"{row['identity']}-{row['view']}", sighting, part[row["identity"]]))
    return path


def recipe_of(manifest: Path, method: str, epochs: int, overrides: list[str]):
    return make_recipe(
        {
            "data": {
                "name": "manifest",
                "root": str(manifest),
                "options": {"pseudo_infrared": "query", "leave_out": "same camera"},
                "height": 64,
                "width": 80,
                "workers": 0,
                "augment": {"flip": 0.0, "pad": 6, "jitter": 0.2, "erasing": 0.3},
                "sampler": {"identities": 12, "images": 4},
            },
            "method": {
                "name": method,
                "backbone": {"name": "resnet10t", "weights": "none"},
                **FROM_RANDOM_WEIGHTS.get(method, {}),
            },
            "training": {
                "epochs": epochs,
                "precision": precision(),
                "validate_every": max(1, epochs // 2),
                "optimiser": {"lr": 1e-3},
                "schedule": {"kind": "cosine", "warmup_epochs": 1},
            },
        },
        overrides,
        source="nyala",
    )


def views_recipe_of(manifest: Path, epochs: int, overrides: list[str]):
    """Views are photographs of different sightings; most flanks have three or four in all."""
    images = recipe_of(manifest, "baseline", epochs, []).model_dump(mode="json")
    data = images["data"] | {
        "options": {"leave_out": "same camera"},
        "sampler": {"identities": 12, "images": 4, "balance": "none"},
        "sets": {"size": 4, "source": "cameras"},
    }
    backbone = {"name": "resnet10t", "weights": "none", "last_activation": False}
    method = {"name": "view_distillation", "backbone": backbone, "start": "teacher", "images": 1}
    teacher = {"data": {"sets": {"size": 1}, "sampler": {"identities": 16}}}
    given = {"data": data, "method": method, "training": images["training"], "teacher": teacher}
    return make_recipe(given, overrides, source="nyala views")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--views", action="store_true")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    manifest = write_manifest(given.photographs, given.out)
    if given.views:
        planned = stage_recipes(views_recipe_of(manifest, given.epochs, given.set), given.out)
    else:
        methods = ("variational_distillation", "baseline")
        planned = [(given.out / method, recipe_of(manifest, method, given.epochs, given.set)) for method in methods]
    scores, seconds = {}, {}
    for folder, recipe in planned:
        start = time.perf_counter()
        train(recipe, folder)
        seconds[folder.name] = round(time.perf_counter() - start)
        scores[folder.name] = evaluate([folder])[0]
    lowest = floors(open_split(recipe), recipe)
    for name, (_, found) in lowest.items():
        scores[name] = found[0]
    for name, score in scores.items():
        print(f"{name} ({seconds.get(name, 0)} s of training): chance {100 * score.chance_rank1:.2f}; {score}")
    page = report([folder for folder, _ in planned], given.out / "report.html", below=lowest)
    print(f"report: {page}")
    if given.json:
        result = {"seconds": seconds, "scores": {name: score.to_json() for name, score in scores.items()}}
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
