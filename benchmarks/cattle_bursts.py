"""Views knowledge distillation on real bursts: day pictures of a cow in the order of their capture, cut into tracklets.

Writes the visible pictures of the training cows in MARS' layout, with six frames per tracklet and a cow's tracklets
assigned to cameras 1 to 6 in turn; the validation cows of `cattle.py` are the test. Then a teacher on tracklets,
students on two images, and their baselines are trained from ImageNet weights, as in `crossreid ablate vkd`.

    python benchmarks/cattle_bursts.py IMAGES WEIGHTS OUT [--seeds 0-2] [--only CELL ...] [--steps 150] [--size 64x40]
        [--set KEY=VALUE ...] [--jobs N] [--json FILE]

Every finished run has a folder in OUT with results.json; running the same command again resumes where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cattle import held_out, show_study, size_of
from crossreid.cli.parsing import numbers
from crossreid.data.images import load_image
from crossreid.data.synthetic.plan import Shot
from crossreid.data.synthetic.tracklet_layouts import mars_lists
from crossreid.data.transforms import resized
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import Recipe, make_recipe
from crossreid.studies.vkd import vkd_study

FRAMES, CAMERAS = 6, 6
CELLS = ("teacher", "student", "terms-lce-ltr", "terms-lkd-ldp", "alone", "alone-longer")
STEPS_AN_EPOCH = 15


def write_films(images: Path, root: Path, size: tuple[int, int]) -> list[str]:
    """MARS' layout in `root`; the cows that its test holds."""
    with (images / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    asked = held_out(rows)
    pictures: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["modality"] == "visible":
            pictures[row["identity"]].append(row["path"])
    shots = []
    for number, (cow, paths) in enumerate(sorted(pictures.items()), start=1):
        part = "test" if cow in asked else "train"
        for place, path in enumerate(sorted(paths)):
            film, frame = divmod(place, FRAMES)
            camera, again = film % CAMERAS + 1, film // CAMERAS + 1
            name = f"bbox_{part}/{number:04d}/{number:04d}C{camera}T{again:04d}F{frame + 1:03d}.jpg"
            shots.append(Shot(number, camera, frame, name, camera))
            copy = root / name
            if not copy.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                pixels = resized(load_image(images / path, at_least=size), *size)
                Image.fromarray(pixels).save(copy, quality=95)
    if not (root / "info").is_dir():
        mars_lists(root, shots)
    return asked


def recipe_of(root: Path, weights: Path, size: tuple[int, int], steps: int, overrides: Sequence[str]) -> Recipe:
    """Teacher and student; both see 64 images a step."""
    height, width = size
    epochs = max(1, round(steps / STEPS_AN_EPOCH))
    sampler = {"identities": 8, "images": 2, "balance": "none", "epoch": STEPS_AN_EPOCH}
    return make_recipe(
        {
            "data": {
                "name": "mars",
                "root": str(root),
                "height": height,
                "width": width,
                "interpolation": "bilinear",
                "workers": 0,
                "augment": {"pad": height // 24, "erasing": 0.3},
                "sampler": sampler,
                "sets": {"size": 4, "source": "cameras"},
            },
            "method": {
                "name": "view_distillation",
                "backbone": {"name": weights.stem, "weights": str(weights)},
                "start": "teacher",
                "images": 2,
            },
            "training": {
                "epochs": epochs,
                "validate_every": epochs,
                "optimiser": {"name": "adam", "lr": 3e-4, "weight_decay": 1e-5},
                "schedule": {"kind": "cosine"},
            },
            "teacher": {"data": {"sets": {"source": "tracklet"}}},
        },
        overrides,
        source="cattle bursts",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(CELLS), metavar="CELL")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", default="64x40", metavar="HxW")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    height, width = size_of(parser, given)
    root = given.out / f"films-{given.size}"
    asked = write_films(given.images, root, (height, width))
    recipe = recipe_of(root, given.weights, (height, width), given.steps, given.set)
    folder = given.out / f"bursts-{given.size}-{given.steps}"
    show_study(recipe, vkd_study(), folder, given, {"steps": given.steps, "held_out": asked}, only=given.only)


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
