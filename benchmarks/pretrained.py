"""The methods of `cattle.py` from ImageNet weights on rendered people, and on antelopes in pseudo-infrared.

WEIGHTS is a file with timm's keys, named after its network. `rendered` has 60 people by day and night in SYSU-MM01's
layout, a quarter of them tested with its all search, single-shot; `nyala` uses PHOTOGRAPHS with manifest.csv, whose
test flanks are pseudo-infrared queries (`nyala.py`).

    python benchmarks/pretrained.py rendered WEIGHTS OUT [--seeds 0-2] [--methods NAME ...] [--size 64x40] [--epochs 8]
        [--set KEY=VALUE ...] [--jobs N] [--json FILE]
    python benchmarks/pretrained.py nyala WEIGHTS OUT --images PHOTOGRAPHS [...]

Every finished run has a folder in OUT with results.json; running the same command again resumes where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cattle import CHANGES, METHODS, add_arguments, add_methods, compare, compared, size_of
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import Recipe, make_recipe
from nyala import write_manifest
from several_sets import shrunk

PEOPLE, IMAGES = 60, 4  # images of each camera
STEPS_AN_EPOCH = 19


def section_of(kind: str, images: Path | None, out: Path, size: tuple[int, int]) -> dict[str, Any]:
    """What the recipes say of the data, which are rendered or shrunk into OUT where they are not there."""
    height, width = size
    if kind == "rendered":
        root = out / f"people-{height}x{width}"
        if not root.is_dir():
            synthesise(root, "sysu-mm01", PEOPLE, 0, images_per_camera=IMAGES, size=size)
        return {"name": "sysu-mm01", "root": str(root)}
    if images is None:
        raise CrossreidError("nyala needs --images PHOTOGRAPHS, the folder of manifest.csv.")
    manifest = shrunk(write_manifest(images, out / "nyala-whole"), out / f"nyala-{height}x{width}", size)
    return {
        "name": "manifest",
        "root": str(manifest),
        "options": {"pseudo_infrared": "query", "leave_out": "same camera"},
    }


def recipe_of(name: str, section: dict[str, Any], given: argparse.Namespace, size: tuple[int, int]) -> Recipe:
    """The common base with a method's changes: what `--set` says comes last."""
    height, width = size
    method, weights = METHODS[name], given.weights
    backbone = {"name": weights.stem, "weights": str(weights), **method.get("backbone", {})}
    flip = 0.0 if given.kind == "nyala" else 0.5  # the flanks of an animal are two identities
    return make_recipe(
        {
            "data": {
                **section,
                "height": height,
                "width": width,
                "interpolation": "bilinear",
                "workers": 0,
                "augment": {"flip": flip, "pad": height // 24, "erasing": 0.3},
                "sampler": {"identities": 8, "images": 8, "epoch": STEPS_AN_EPOCH},
            },
            "method": {**method, "backbone": backbone},
            "training": {
                "epochs": given.epochs,
                "validate_every": given.epochs,
                "optimiser": {"lr": 3e-4},
                "schedule": {"kind": "cosine"},
            },
        },
        [*CHANGES.get(name, []), *given.set],
        source=given.kind,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("rendered", "nyala"))
    add_arguments(parser, size="64x40", epochs=8)
    add_methods(parser)
    parser.add_argument("--images", type=Path)
    given = parser.parse_args(arguments)
    size = size_of(parser, given)
    section = section_of(given.kind, given.images, given.out, size)
    recipes = {name: recipe_of(name, section, given, size) for name in compared(given.methods)}
    compare(recipes, given.out / f"{given.kind}-{given.size}-{given.epochs}", given, {"kind": given.kind})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
