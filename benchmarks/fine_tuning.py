"""Starting from a run on other cows: accuracy against images per cow and modality, with and without the start.

IMAGES and WEIGHTS are those of `cattle.py`; only the training cows of IMAGES are read. Every other one of them, by
name, is a source cow: the source run learns these from ImageNet weights. The rest are the new herd, which the source
run never saw. The later half by name of each cow's pictures, in each modality, is the test: night pictures are queries,
day pictures of all cows of the herd the gallery. From the earlier half, K pictures per cow and modality are drawn to
train on, or all if there are fewer. There are three ways:

    imagenet    from ImageNet weights
    started     `start_from` the source run
    head-first  the same, but only the heads learn for the first quarter of the steps (`training.freeze`)

All take the same number of steps, and no step sees a test image. K = 0 is a network that was not trained on the herd.

    python benchmarks/fine_tuning.py IMAGES WEIGHTS OUT [--images 0 1 2 4 8 all] [--ways NAME ...] [--seeds 0-1]
        [--size 64x40] [--steps 40] [--set KEY=VALUE ...] [--json FILE] [--figure FILE] [--done]

A scored run has a result file in OUT, and its folder is deleted; running the same command again resumes where it
stopped. With `--done` nothing is trained: the table, the file and the figure are written from what was measured so far.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cattle import recipe_of, write_manifest
from crossreid.cli.parsing import numbers
from crossreid.errors import CrossreidError
from crossreid.evaluation.scores import Score
from crossreid.files import read_json, replacing, write_json
from crossreid.runs.evaluate import evaluate
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import fresh_method, open_split
from crossreid.runs.scoring import embed_features, score_features
from crossreid.runs.train import train_run
from machine import machine

WAYS = ("imagenet", "started", "head-first")
PARTS = 4  # epochs, of which `head-first` keeps the encoder in the first
KINDS = ("visible", "infrared")


class Herd:
    """The herd's pictures: `earlier`, those to draw from, by cow and modality, and the rows of those to test."""

    def __init__(self, rows: Sequence[dict[str, str]]) -> None:
        cows = sorted({row["identity"] for row in rows})
        self.source = cows[0::2]
        self.source_rows = [row for row in rows if row["identity"] in self.source]
        by_kind: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for row in rows:
            by_kind[row["identity"], row["modality"]].append(row)
        # Of both modalities two pictures at least: one to learn from, one to test.
        self.cows = [cow for cow in cows[1::2] if all(len(by_kind[cow, kind]) > 1 for kind in KINDS)]
        self.earlier: dict[tuple[str, str], list[dict[str, str]]] = {}
        self.tested: list[dict[str, str]] = []
        for cow in self.cows:
            for kind in KINDS:
                pictures = sorted(by_kind[cow, kind], key=lambda row: row["path"])
                half = len(pictures) // 2
                self.earlier[cow, kind] = pictures[:half]
                self.tested += pictures[half:]

    def drawn(self, images: int | None, seed: int) -> list[dict[str, str]]:
        """`images` pictures of each cow and modality, all for None; more images are those of fewer and others."""
        rng = np.random.default_rng(seed)
        orders = {key: rng.permutation(len(rows)) for key, rows in self.earlier.items()}
        return [rows[i] for key, rows in self.earlier.items() for i in orders[key][:images]]


def write_rows(path: Path, train: Sequence[dict[str, str]], tested: Sequence[dict[str, str]]) -> Path:
    """A manifest of pictures to train on and of those to test, whose infrared ones ask."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "identity", "modality", "split"))
        for rows, split in ((train, "train"), (tested, "test")):
            table.writerows((row["path"], row["identity"], row["modality"], split) for row in rows)
    return path


def changes_of(way: str, source: Path) -> list[str]:
    """What a way changes of the common recipe."""
    start = [] if way == "imagenet" else [f"start_from={source}"]
    return [*start, "training.freeze=[backbone]", "training.unfreeze_after=1"] if way == "head-first" else start


def scores_of(score: Score) -> dict[str, float]:
    return {"rank-1": score.rank(1), "mAP": score.mAP, "mINP": score.mINP}


def untrained(recipe: Recipe) -> Score:
    """The score of the network as it starts, on the test of its data."""
    split = open_split(recipe)
    return score_features(embed_features(fresh_method(recipe, split).eval(), split, recipe), split, recipe)[0]


def trained(recipe: Recipe, folder: Path, tested: Path) -> Score:
    """The score of a run on the pictures that the manifest `tested` has; the run is removed."""
    train_run(recipe, folder)
    score = evaluate(folder, root=tested)[0]
    shutil.rmtree(folder)
    return score


def summarised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample deviation over seeds, in percent, of each way and number of images, in the order of `rows`."""
    groups: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["images"], row["way"]].append(row)
    table = []
    for (images, way), own in groups.items():
        entry: dict[str, Any] = {"images": images, "way": way, "seeds": len(own)}
        for name in ("rank-1", "mAP"):
            values = 100 * np.array([row[name] for row in own])
            entry[name] = round(float(values.mean()), 1)
            entry[f"{name} deviation"] = round(float(values.std(ddof=1)), 1) if len(own) > 1 else None
        table.append(entry)
    return table


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """Rows of images, columns of ways: rank-1 / mAP in percent, mean and deviation over seeds."""
    ways = [way for way in WAYS if any(row["way"] == way for row in table)]
    lines = [f"| images per cow and modality | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    for images in dict.fromkeys(row["images"] for row in table):
        cells = {row["way"]: row for row in table if row["images"] == images}
        lines.append(f"| {images} | {' | '.join(_cell(cells.get(way)) for way in ways)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    parts = []
    for name in ("rank-1", "mAP"):
        deviation = row[f"{name} deviation"]
        parts.append(f"{row[name]:.1f}" + (f" ± {deviation:.1f}" if deviation is not None else ""))
    return " / ".join(parts)


def draw(table: Sequence[dict[str, Any]], file: Path) -> None:
    """The curves: rank-1 and mAP against images, with the deviation over seeds."""
    from matplotlib.figure import Figure

    images = list(dict.fromkeys(row["images"] for row in table))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("rank-1", "mAP"), strict=True):
        for way, mark in zip(WAYS, "os^", strict=True):
            rows = [row for row in table if row["way"] == way]
            at = [images.index(row["images"]) for row in rows]
            spread = [row[f"{name} deviation"] or 0.0 for row in rows]
            axes.errorbar(at, [row[name] for row in rows], spread, marker=mark, markersize=4, capsize=2, label=way)
        axes.set_xticks(range(len(images)), [str(count) for count in images])
        axes.set_xlabel("images per cow and modality")
        axes.set_ylabel(f"{name}, %")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options, or of `arguments`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images_folder", type=Path, metavar="IMAGES")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--images", nargs="+", default=["0", "1", "2", "4", "8", "all"], metavar="K")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    parser.add_argument("--seeds", type=numbers, default=[0, 1])
    parser.add_argument("--size", default="64x40", metavar="HxW")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--source-steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--done", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args(arguments)
    if re.fullmatch(r"\d+x\d+", given.size) is None or given.steps % PARTS or given.source_steps % PARTS:
        parser.error(f"expected --size HEIGHTxWIDTH, and a number of steps divisible by {PARTS}")
    if not all(count == "all" or count.isdigit() for count in given.images):
        parser.error("expected numbers of images, or `all`")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    height, width = map(int, given.size.split("x"))
    manifest, _ = write_manifest(given.images_folder, given.out, (height, width), validation=True)
    herd = Herd(read_rows(manifest))  # which lists the training cows alone

    def recipe(path: Path, batch: int, steps: int, seed: int, more: Sequence[str] = ()) -> Recipe:
        changes = [
            "data.sampler.identities=8", f"data.sampler.images={batch // 8}", f"data.sampler.epoch={steps // PARTS}",
            f"training.seed={seed}", "training.accelerator=cpu", *more, *given.set,
        ]  # fmt: skip
        return recipe_of(
            {"name": "baseline"}, path, given.weights, (height, width), PARTS, changes, arithmetic="32-true"
        )

    folder = given.out / f"fine-tuning-{given.size}-{given.steps}"
    folder.mkdir(parents=True, exist_ok=True)
    # Training and test of a manifest are of different cows. So the pictures to test are in that of the source cows, and every run is
    # tested on it; of that of a run on the herd the test is not used.
    tested = write_rows(manifest.parent / "source.csv", herd.source_rows, herd.tested)
    source, start = folder / "source", time.perf_counter()
    train_run(recipe(tested, 64, given.source_steps, 0), source)
    print(f"source: {len(herd.source)} cows, {time.perf_counter() - start:.0f} s", flush=True)
    rows = []
    for seed in given.seeds:
        for count in given.images:
            for way in given.ways:
                if count == "0" and (seed != given.seeds[0] or way == "head-first"):
                    continue  # nothing is drawn, or learnt
                path = folder / f"{way}-{count}-{seed}.json"
                if given.done and not path.is_file():
                    continue
                if not path.is_file():
                    start = time.perf_counter()
                    drawn = herd.drawn(None if count == "all" else int(count), seed)
                    if count == "0":
                        score = untrained(recipe(tested, 32, PARTS, seed)) if way == "imagenet" else evaluate(source)[0]
                    else:
                        own = write_rows(manifest.parent / f"herd-{count}-{seed}.csv", drawn, herd.source_rows)
                        wanted = recipe(own, 32, given.steps, seed, changes_of(way, source))
                        score = trained(wanted, path.with_suffix(""), tested)
                    told = {"way": way, "images": count, "seed": seed, "pictures": len(drawn)}
                    seconds = round(time.perf_counter() - start, 1)
                    write_json(path, told | scores_of(score) | {"seconds": seconds})
                rows.append(read_json(path, dict))
                print(
                    f"{way}, {count} images, seed {seed}: {100 * rows[-1]['rank-1']:.1f} / {100 * rows[-1]['mAP']:.1f}",
                    flush=True,
                )
    table = summarised(sorted(rows, key=lambda row: given.images.index(row["images"])))
    print(markdown(table))
    if given.json:
        told = {
            "size": given.size,
            "steps": given.steps,
            "source_steps": given.source_steps,
            "overrides": given.set,
            "source_cows": len(herd.source),
            "herd_cows": len(herd.cows),
            "tested": {kind: sum(row["modality"] == kind for row in herd.tested) for kind in KINDS},
        }
        write_json(given.json, {"machine": machine(), **told, "table": table, "rows": rows})
    if given.figure:
        draw(table, given.figure)


def read_rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
