"""Every method from ImageNet weights on real photographs of cows: by day, and by night under an infrared lamp.

IMAGES contains `manifest.csv` (path, identity, modality, split) and the files it lists; WEIGHTS is a file with timm's
keys, named after its network. Night pictures of test cows are the queries, day pictures of all test cows the gallery.
With `--validation` the test cows are not used at all: every third training cow that was photographed by day and by
night is held out and tested instead. Make all choices there; score the test cows once.

    python benchmarks/cattle.py IMAGES WEIGHTS OUT [--seeds 0-2] [--methods NAME ...] [--size 136x80] [--epochs 24]
        [--validation] [--set KEY=VALUE ...] [--jobs N] [--json FILE]

The last row of the table is the pretrained network, not trained here.

Every finished run has a folder in OUT with results.json; running the same command again resumes where it stopped.
Images are downscaled once, into OUT, in the same way as the loader would downscale them each time.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from crossreid.cli.parsing import numbers
from crossreid.data.images import load_image
from crossreid.data.transforms import resized
from crossreid.demo.demonstration import precision
from crossreid.errors import CrossreidError
from crossreid.files import replacing, write_json
from crossreid.reporting.study_table import terminal_table, write_markdown
from crossreid.runs.recipe import Recipe, make_recipe
from crossreid.studies.running import run_study
from crossreid.studies.side_by_side import recipes_study
from crossreid.studies.study import Study
from machine import machine

VD, IDKL = {"name": "variational_distillation"}, {"name": "implicit_knowledge"}
PAPER = VD | {"setting": "paper"}
# The weights of setting `crossreid` before it had the paper's, and with them its mutual learning and test features.
HALF = VD | {"self_weight": 0.5, "cross_weight": 0.5, "consistency_weight": 0.5}
BOTH = HALF | {"test_features": "both", "mutual_weight": 1.0, "mutual_of": "both"}
# Losses that are added compare what the triplet loss does, the feature behind the neck.
LOSSES: dict[str, Any] = {"name": "baseline", "losses_features": "neck"}
BEST = {"name": "strong_baseline"}
# What each changes of the method's defaults; all have the same backbone.
METHODS: dict[str, dict[str, Any]] = {
    "baseline": {"name": "baseline"},
    "baseline-random": {"name": "baseline", "backbone": {"weights": "none"}},
    "identity": {"name": "baseline", "triplet_weight": 0.0},
    "agw": {"name": "agw"},
    "agw-official": {"name": "agw", "setting": "official"},
    "idkl": IDKL,
    "idkl-hard": IDKL | {"triplet": "hard"},
    "idkl-paper": IDKL | {"setting": "paper"},
    "idkl-official": IDKL | {"setting": "official"},
    "ib": {"name": "information_bottleneck"},
    "vib": {"name": "variational_information_bottleneck"},
    "vd": VD,
    "vd-random": VD | {"backbone": {"weights": "none"}},
    "vd-half": HALF,
    "vd-both": BOTH,
    "vd-paper": PAPER,
    "vd-paper-shared": PAPER | {"branches": "shared"},
    "vd-paper-no-mutual": PAPER | {"mutual_weight": 0.0},
    "vd-paper-both": PAPER | {"test_features": "both"},
    "circle": LOSSES | {"losses": {"circle": 0.02}, "triplet_weight": 0.0},
    "arcface": {"name": "baseline", "head": {"name": "arcface"}},
    "cosface": {"name": "baseline", "head": {"name": "cosface"}},
    "subcentre": {"name": "baseline", "head": {"name": "subcentre"}},
    "centre": {"name": "baseline", "losses": {"centre": 5e-4}},
    "hetero-centre": LOSSES | {"losses": {"hetero_centre": 0.5}},
    "hetero-centre-triplet": LOSSES | {"losses": {"hetero_centre_triplet": 1.0}, "triplet_weight": 0.0},
    "xbm": LOSSES | {"losses": {"cross_batch_memory": {"size": 1024, "start": 50, "over": "pairs"}}},
    "mixstyle": {"name": "baseline", "backbone": {"mixstyle": {"stages": [1, 2]}}},
    "mixstyle-across": {"name": "baseline", "backbone": {"mixstyle": {"stages": [1, 2], "across": True}}},
    "best": BEST,
    "best-no-flip": BEST,
    "best-no-triplets": BEST | {"triplet_weight": 0.0},
    "best-no-exchange": BEST,
    "best-no-light": BEST,
    "best-affine": BEST,
    "best-slow": BEST,
    "baseline-augmented": {"name": "baseline"},
    "agw-augmented": {"name": "agw"},
    "vd-augmented": VD,
    "reid": PAPER | {"self_weight": 0.0, "cross_weight": 0.0, "consistency_weight": 0.0},
}
LIGHT, EXCHANGE, FAST = (
    "data.augment.distortions.light=1",
    "data.augment.channels.exchange=0.5",
    "training.optimiser.lr=1e-3",
)
AUGMENTED = [LIGHT, EXCHANGE, FAST]
# What some change of the common base too: the recipe of the strong baseline; parts of it left out, or affine distortions added,
# without the mirror image at test; and other methods by the same.
CHANGES: dict[str, list[str]] = {
    "best": [*AUGMENTED, "evaluation.flip=true"],
    "best-no-flip": AUGMENTED,
    "best-no-triplets": AUGMENTED,
    "best-no-exchange": [LIGHT, FAST],
    "best-no-light": [EXCHANGE, FAST],
    "best-affine": [*AUGMENTED, "data.augment.distortions.affine=1"],
    "best-slow": [LIGHT, EXCHANGE],
    "baseline-augmented": AUGMENTED,
    "agw-augmented": AUGMENTED,
    "vd-augmented": AUGMENTED,
}


def held_out(rows: Sequence[dict[str, str]]) -> list[str]:
    """The validation cows: every third, by name, of the training cows that have pictures of both modalities."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["split"] == "train":
            kinds[row["identity"]].add(row["modality"])
    return sorted(identity for identity, known in kinds.items() if len(known) == 2)[1::3]


def write_manifest(images: Path, out: Path, size: tuple[int, int], *, validation: bool) -> tuple[Path, list[str]]:
    """Shrunk copies in OUT/HEIGHTxWIDTH and a manifest of them; it, and the cows that it holds out for validation."""
    with (images / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    asked = held_out(rows) if validation else []
    folder = out / f"{size[0]}x{size[1]}"
    listed = []
    for row in rows:
        if validation and row["split"] != "train":
            continue
        copy = Path(row["path"]).with_suffix(".png")
        if not (folder / copy).is_file():
            (folder / copy).parent.mkdir(parents=True, exist_ok=True)
            pixels = resized(load_image(images / row["path"], at_least=size), *size)
            with replacing(folder / copy) as temporary:
                Image.fromarray(pixels).save(temporary, format="png")
        split = "test" if row["identity"] in asked else row["split"]
        listed.append((copy.as_posix(), row["identity"], row["modality"], split))
    path = folder / ("validation.csv" if validation else "test.csv")
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "identity", "modality", "split"), *listed])
    return path, asked


def recipe_of(
    method: dict[str, Any],
    manifest: Path,
    weights: Path,
    size: tuple[int, int],
    epochs: int,
    overrides: Sequence[str],
    *,
    arithmetic: str,
) -> Recipe:
    """The common base with a method's changes: what `--set` says comes last."""
    height, width = size
    backbone = {"name": weights.stem, "weights": str(weights), **method.get("backbone", {})}
    return make_recipe(
        {
            "data": {
                "name": "manifest",
                "root": str(manifest),
                "height": height,
                "width": width,
                "interpolation": "bilinear",  # that of the shrunk copies
                "workers": 4 if torch.cuda.is_available() else 0,
                "augment": {"pad": height // 24, "erasing": 0.3},
                "sampler": {"identities": 8, "images": 8},
            },
            "method": {**method, "backbone": backbone},
            "training": {
                "epochs": epochs,
                "precision": arithmetic,
                "optimiser": {"lr": 3e-4},
                "schedule": {"kind": "cosine"},
            },
        },
        overrides,
        source="cattle",
    )


def add_arguments(parser: argparse.ArgumentParser, *, size: str, epochs: int) -> None:
    """What every study on these weights takes."""
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--size", default=size, metavar="HxW")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--json", type=Path)


def add_methods(parser: argparse.ArgumentParser) -> None:
    """The methods of a comparison."""
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")


def size_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[int, int]:
    """Height and width; ends the program where they cannot be read."""
    if re.fullmatch(r"\d+x\d+", given.size) is None:
        parser.error(f"--size {given.size}: expected HEIGHTxWIDTH")
    height, width = map(int, given.size.split("x"))
    return height, width


def compared(methods: Sequence[str]) -> list[str]:
    """The methods of a study, which has two or more; one alone is run beside a baseline that is not."""
    return list(methods) if len(methods) > 1 else [*methods, "identity" if "baseline" in methods else "baseline"]


def compare(recipes: Mapping[str, Recipe], folder: Path, given: argparse.Namespace, told: Mapping[str, Any]) -> None:
    """Train and score every recipe with every seed; the table is shown as in `show_study`."""
    first, facts = recipes[given.methods[0]], {"epochs": given.epochs, **told}
    show_study(first, recipes_study(dict(recipes)), folder, given, facts, only=given.methods)


def show_study(
    base: Recipe, study: Study, folder: Path, given: argparse.Namespace, told: Mapping[str, Any], *, only: Sequence[str]
) -> None:
    """Run the cells `only` with every seed, print the table, and write it with the facts in `told`."""
    table = run_study(base, study, folder, seeds=given.seeds, jobs=given.jobs, only=only)
    write_markdown(table, folder)
    if asked := told.get("held_out"):
        print(f"{len(asked)} validation cows of the training cows: {', '.join(asked)}")
    Console().print(terminal_table(table))
    if given.json:
        about = {"size": given.size, "overrides": given.set, **told}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        write_json(given.json, {"machine": machine() | {"device": device}, **about, "table": table})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    add_arguments(parser, size="136x80", epochs=24)
    add_methods(parser)
    parser.add_argument("--validation", action="store_true")
    given = parser.parse_args(arguments)
    height, width = size_of(parser, given)
    manifest, asked = write_manifest(given.images, given.out, (height, width), validation=given.validation)
    folder = given.out / f"{'validation' if given.validation else 'test'}-{given.size}-{given.epochs}"
    arithmetic = precision(sorted(folder.glob("*/seed-*")))
    recipes = {
        name: recipe_of(
            METHODS[name],
            manifest,
            given.weights,
            (height, width),
            given.epochs,
            [*CHANGES.get(name, []), *given.set],
            arithmetic=arithmetic,
        )
        for name in compared(given.methods)
    }
    compare(recipes, folder, given, {"held_out": asked})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
