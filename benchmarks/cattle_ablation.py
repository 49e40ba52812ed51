"""The studies of variational distillation from ImageNet weights on real photographs of cows, by day and by night.

`vd` is branches x {bottleneck, VIB, VD} and every subset of VSD, VCD and VML; `weight` and `z-size` are the other two of
`crossreid ablate`. Cows, their division, the base of every recipe and IMAGES and WEIGHTS are those of `cattle.py --validation`: the
test cows are left out.

    python benchmarks/cattle_ablation.py {vd,weight,z-size} IMAGES WEIGHTS OUT [--seeds 0-2] [--only CELL ...] [--sizes 8,64,512]
        [--size 64x40] [--epochs 8] [--set KEY=VALUE ...] [--jobs N] [--json FILE]

Every run has a folder in OUT with results.json once it is done; the same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cattle import METHODS, add_arguments, recipe_of, show_study, size_of, write_manifest
from crossreid.cli.parsing import numbers
from crossreid.demo.demonstration import precision
from crossreid.errors import CrossreidError
from crossreid.studies.study import Study
from crossreid.studies.vd import SIZES, vd_study, weight_study, z_size_study


def study_of(name: str, sizes: Sequence[int]) -> Study:
    """One of the three; `sizes` are those of z."""
    if name == "z-size":
        return z_size_study(sizes)
    return vd_study() if name == "vd" else weight_study()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("vd", "weight", "z-size"))
    parser.add_argument("images", type=Path)
    add_arguments(parser, size="64x40", epochs=8)
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL")
    parser.add_argument("--sizes", type=numbers, default=list(SIZES))
    given = parser.parse_args(arguments)
    size = size_of(parser, given)
    manifest, asked = write_manifest(given.images, given.out, size, validation=True)
    folder = given.out / f"{given.study}-{given.size}-{given.epochs}"
    arithmetic = precision(sorted(folder.glob("*/seed-*")))
    base = recipe_of(METHODS["vd"], manifest, given.weights, size, given.epochs, given.set, arithmetic=arithmetic)
    told = {"epochs": given.epochs, "held_out": asked}
    show_study(base, study_of(given.study, given.sizes), folder, given, told, only=given.only)


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
