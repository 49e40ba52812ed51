"""Identities across the six cameras of the filmed city: the benefit of calibrated matching and of a topology.

    python benchmarks/city.py OUT [--seeds 0-2] [--people 24] [--minutes 3] [--epochs 12] [--json FILE]

For each seed a city is filmed, a small network is trained on people who are not in the films, its scores are calibrated
on its validation people, and the six films are watched with the detections stored beside them. The rows are

* `alone`: tracking only, every track is its own identity;
* `cosine`: the same tracks joined across cameras by one fixed cosine, the best of 16 by the ground truth, which is
  optimistic;
* `calibrated`: `crossreid watch` with calibrated probabilities;
* `topology`: the same with topology.yaml;
* `gallery`: the same with a gallery of the enrolled people, and how often names are right.

Every seed has a folder in OUT; existing parts are not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import crossreid
from crossreid.cli.parsing import numbers
from crossreid.data.synthetic import synthesise_city
from crossreid.errors import CrossreidError
from crossreid.evaluation.mot_rows import read_mot_rows
from crossreid.evaluation.track_scores import score_tracks
from crossreid.files import write_json
from crossreid.galleries import open_gallery
from crossreid.galleries.importing import read_entries
from crossreid.reporting.study_table import spread
from crossreid.runs.calibrating import calibrate
from crossreid.runs.named_network import size_of
from crossreid.runs.recipe import Recipe, make_recipe
from crossreid.watching.watch import watch
from machine import machine
from watched_tracks import best_cosine, names_given, scored, tracks_of, within_and_across

ROWS = {
    "alone": "tracking alone",
    "cosine": "one cosine for all, the best by the truth",
    "calibrated": "calibrated",
    "topology": "calibrated, topology",
    "gallery": "calibrated, topology, gallery",
}
SHOWN = ("idf1", "hota", "assa", "deta")


def recipe_of(training: Path, epochs: int, overrides: Sequence[str]) -> Recipe:
    """A small network, trained as the recipes of the rendered people are, on crops of the size that the films have."""
    return make_recipe(
        {
            "data": {
                "name": "manifest",
                "root": str(training),
                "height": 96,
                "width": 48,
                "workers": 0,
                "augment": {"flip": 0.5, "pad": 4, "jitter": 0.3, "grey": 0.3},
                "sampler": {"identities": 12, "images": 4},
            },
            "method": {
                "name": "baseline",
                "backbone": {"name": "test_resnet", "weights": "none"},
                "triplet_features": "pooled",
            },
            "training": {
                "epochs": epochs,
                "validate_every": epochs,
                "optimiser": {"name": "adam", "lr": 2.0e-3, "weight_decay": 5.0e-4},
                "schedule": {"kind": "cosine", "warmup_epochs": 1},
            },
        },
        overrides,
        source="city",
    )


def prepared(place: Path, seed: int, given: argparse.Namespace) -> tuple[Path, Path]:
    """The city of a seed and the calibrated run of its training images."""
    city, run = place / "city", place / "run"
    if not (city / "city.json").is_file():
        synthesise_city(
            city,
            given.people,
            seed,
            minutes=given.minutes,
            others=given.others,
            size=size_of(given.size),
            progress=True,
        )
    if not (run / "calibration.json").is_file():
        recipe = recipe_of(city / "training", given.epochs, [f"training.seed={seed}", *given.set])
        crossreid.train(recipe, run)
        calibrate(run, tracklets=True)
    return city, run


def watched(city: Path, run: Path, out: Path, **settings: Any) -> Path:
    """The folder of a watch of the six films; finished already, or made now."""
    if not (out / "finished.json").is_file():
        found = watch(
            (), out, model=run, cameras=city / "cameras.yaml", detector=str(city / "det"), keep_images=False, **settings
        )
        write_json(out / "finished.json", {"identities": found.identities, "events": found.events})
    return out


def enrolled_gallery(city: Path, run: Path, place: Path) -> Path:
    """A gallery of the people who are enrolled."""
    gallery, embedded = place / "gallery", place / "enrolment"
    if not gallery.exists():
        crossreid.embed(run, city / "enrolment", embedded)
        entries, model = read_entries(embedded)
        with open_gallery(gallery, model=model, dimension=entries.embeddings.shape[1], create=True) as opened:
            opened.add(entries)
    return gallery


def measured(place: Path, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """The scores of every row for one seed."""
    city, run = prepared(place, seed, given)
    truth = {path.stem: read_mot_rows(path) for path in sorted((city / "gt").glob("*.txt"))}
    plain = watched(city, run, place / "calibrated")
    informed = watched(city, run, place / "topology", topology=city / "topology.yaml")
    named = watched(
        city, run, place / "named", topology=city / "topology.yaml", gallery=enrolled_gallery(city, run, place)
    )
    tracks = tracks_of(plain)
    threshold, joined = best_cosine(truth, tracks)
    with (city / "people.csv").open(newline="", encoding="utf-8") as stream:
        known = {int(row["number"]): row["name"] for row in csv.DictReader(stream) if row["enrolled"] == "yes"}
    scores = {
        "alone": scored(truth, tracks, range(1, len(tracks) + 1)),
        "cosine": joined,
        "calibrated": score_tracks(city / "gt", plain / "tracks"),
        "topology": score_tracks(city / "gt", informed / "tracks"),
        "gallery": score_tracks(city / "gt", named / "tracks"),
    }
    return {
        "seed": seed,
        "people": given.people,
        "tracks": len(tracks),
        "threshold": threshold,
        "names": names_given(truth, tracks_of(named), known),
        "scores": {name: within_and_across(one) for name, one in scores.items()},
        "cameras": {name: asdict(score) for name, score in scores["topology"].cameras.items()},
        "boxes": {camera: len(rows) for camera, rows in truth.items()},
    }


def table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Means and standard deviations over the seeds, percent; identities beside how many people there are."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("")
    for heading in ("IDF1 within", *(f"{name.upper()} across" for name in SHOWN), "identities", "people"):
        shown.add_column(heading, justify="right")
    for name, title in ROWS.items():
        each = [result["scores"][name] for result in results]
        cells = [spread([one["within"]["idf1"] for one in each])]
        cells += [spread([one["across"][key] for one in each]) for key in SHOWN]
        counts = [np.mean([one["across"][key] for one in each]) for key in ("identities", "people")]
        shown.add_row(title, *cells, *(f"{count:.1f}" for count in counts))
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--others", type=int, default=60)
    parser.add_argument("--size", default="180x320", metavar="HxW")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    results = []
    for seed in given.seeds:
        place = given.out / f"seed-{seed}"
        result = place / "results.json"
        if not result.is_file():
            write_json(result, measured(place, seed, given))
        results.append(json.loads(result.read_text(encoding="utf-8")))
    Console(width=140).print(table(results))
    for kind in ("right", "wrong", "none", "false"):
        print(f"names, {kind}: {spread([result['names'][kind] for result in results])}")
    if given.json:
        told = {key: getattr(given, key) for key in ("people", "minutes", "others", "size", "epochs")}
        write_json(given.json, {"machine": machine(), **told, "seeds": results})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
