"""One data set left out: training on the others against training on it alone; rendered worlds and photographs.

`worlds` renders people by day and night (SYSU-MM01's layout), people in near infrared (LLCM's) and animals (ATRW's,
visible only). `real` uses CATTLE and NYALA, folders with manifest.csv: only the training cows, of which every third is
held out for testing (`cattle.py --validation`), and nyalas with pseudo-infrared queries. WEIGHTS is a file with timm's
keys, named after its network.

    python benchmarks/several_sets.py worlds WEIGHTS OUT [--seeds 0] [--steps 90] [--only CELL ...] [--set KEY=VALUE ...] [--json FILE]
    python benchmarks/several_sets.py real WEIGHTS OUT --cattle CATTLE --nyala NYALA [...]

Every finished run has a folder in OUT with results.json; running the same command again resumes where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

import cattle
import nyala
from crossreid.cli.parsing import numbers
from crossreid.data.images import load_image
from crossreid.data.synthetic import synthesise
from crossreid.data.transforms import resized
from crossreid.errors import CrossreidError
from crossreid.files import replacing, write_json
from crossreid.reporting.plotting import plot
from crossreid.reporting.study_table import terminal_table, write_markdown
from crossreid.runs.recipe import Recipe, make_recipe
from crossreid.studies.left_out import left_out_study
from crossreid.studies.running import run_study
from machine import machine

SIZE = (64, 40)
WORLDS = {"people": ("sysu-mm01", 40, 3), "night": ("llcm", 40, 4), "animals": ("atrw", 40, 6)}
STEPS_AN_EPOCH = 15


def worlds(out: Path) -> list[dict[str, Any]]:
    """Sections of the rendered worlds, which are rendered where they are not there."""
    sections: list[dict[str, Any]] = []
    for seed, (name, (layout, identities, images)) in enumerate(WORLDS.items()):
        root = out / name
        if not root.is_dir():
            synthesise(root, layout, identities, seed, images_per_camera=images, size=SIZE)
        one_modality = {"balance": "none"} if layout == "atrw" else {}
        sections.append({"called": name, "name": layout, "root": str(root), **one_modality})
    return sections


def real(cows: Path, antelopes: Path, out: Path) -> list[dict[str, Any]]:
    """Sections of the photographs, which are shrunk into OUT once."""
    manifest, held_out = cattle.write_manifest(cows, out / "cattle", SIZE, validation=True)
    print(f"{len(held_out)} validation cows of the training cows: {', '.join(held_out)}")
    own = {"pseudo_infrared": "query", "leave_out": "same camera"}
    manifest_of_nyala = shrunk(nyala.write_manifest(antelopes, out / "nyala-whole"), out / "nyala")
    return [
        {"called": "cattle", "name": "manifest", "root": str(manifest)},
        {"called": "nyala", "name": "manifest", "root": str(manifest_of_nyala), "options": own},
    ]


def shrunk(manifest: Path, out: Path, size: tuple[int, int] = SIZE) -> Path:
    """The manifest of copies of its pictures in the size of the network's input."""
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    out.mkdir(parents=True, exist_ok=True)
    for place, row in enumerate(rows):
        copy = out / f"{place:05d}.png"
        if not copy.is_file():
            with replacing(copy) as temporary:
                Image.fromarray(resized(load_image(Path(row["path"]), at_least=size), *size)).save(
                    temporary, format="png"
                )
        row["path"] = copy.name
    with replacing(out / "manifest.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out / "manifest.csv"


def recipe_of(sections: Sequence[dict[str, Any]], weights: Path, steps: int, overrides: Sequence[str]) -> Recipe:
    height, width = SIZE
    common = {
        "height": height,
        "width": width,
        "interpolation": "bilinear",
        "workers": 0,
        "augment": {"pad": 3, "erasing": 0.3},
        "sampler": {"identities": 8, "images": 4, "epoch": STEPS_AN_EPOCH},
    }
    epochs = max(1, round(steps / STEPS_AN_EPOCH))
    return make_recipe(
        {
            "data": [{**common, **sections[0]}, *sections[1:]],
            "method": {"name": "baseline", "backbone": {"name": weights.stem, "weights": str(weights)}},
            "training": {
                "epochs": epochs,
                "precision": "32-true",
                "validate_every": epochs,
                "optimiser": {"lr": 3e-4},
                "schedule": {"kind": "cosine"},
            },
        },
        overrides,
        source="several sets",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("worlds", "real"))
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cattle", type=Path)
    parser.add_argument("--nyala", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--only", action="append", default=[], metavar="CELL")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.what == "real" and not (given.cattle and given.nyala):
        parser.error("real: expected --cattle CATTLE and --nyala NYALA")
    sections = worlds(given.out) if given.what == "worlds" else real(given.cattle, given.nyala, given.out)
    recipe = recipe_of(sections, given.weights, given.steps, given.set)
    folder = given.out / f"study-{recipe.method.backbone.domain_norm}"
    table = run_study(recipe, left_out_study(recipe), folder, seeds=given.seeds, jobs=1, only=given.only)
    write_markdown(table, folder)
    Console().print(terminal_table(table))
    plot([folder], folder)
    if given.json:
        told = {"size": "x".join(map(str, SIZE)), "steps": given.steps, "overrides": given.set, "cores": os.cpu_count()}
        write_json(given.json, {"machine": machine(), **told, "network": given.weights.stem, "table": table})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
