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

import torch
from rich.console import Console

from cattle import METHODS, recipe_of, size_of, write_manifest
from crossreid.cli.parsing import numbers
from crossreid.demo.demonstration import precision
from crossreid.errors import CrossreidError
from crossreid.files import write_json
from crossreid.reporting.study_table import terminal_table, write_markdown
from crossreid.studies.running import run_study
from crossreid.studies.study import Study
from crossreid.studies.vd import SIZES, vd_study, weight_study, z_size_study
from machine import machine


def study_of(name: str, sizes: Sequence[int]) -> Study:
    """One of the three; `sizes` are those of z."""
    if name == "z-size":
        return z_size_study(sizes)
    return vd_study() if name == "vd" else weight_study()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("vd", "weight", "z-size"))
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL")
    parser.add_argument("--sizes", type=numbers, default=list(SIZES))
    parser.add_argument("--size", default="64x40", metavar="HxW")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    size = size_of(parser, given)
    manifest, asked = write_manifest(given.images, given.out, size, validation=True)
    folder = given.out / f"{given.study}-{given.size}-{given.epochs}"
    arithmetic = precision(sorted(folder.glob("*/seed-*")))
    base = recipe_of(METHODS["vd"], manifest, given.weights, size, given.epochs, given.set, arithmetic=arithmetic)
    study = study_of(given.study, given.sizes)
    table = run_study(base, study, folder, seeds=given.seeds, jobs=given.jobs, only=given.only)
    write_markdown(table, folder)
    Console().print(terminal_table(table))
    if given.json:
        about = {"size": given.size, "epochs": given.epochs, "overrides": given.set, "held_out": asked}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        write_json(given.json, {"machine": machine() | {"device": device}, **about, "table": table})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
