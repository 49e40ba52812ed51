"""The demonstration: a small synthetic world, two methods, their floors, one report, and a gallery to search."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.scores import Score
from crossreid.methods import METHODS
from crossreid.reporting.report import report
from crossreid.runs.evaluate import evaluate
from crossreid.runs.floors import floors
from crossreid.runs.recipe import Recipe, make_recipe, recipe_of_run
from crossreid.runs.run import is_synthetic, open_split
from crossreid.runs.train import train
from crossreid.training.bf16 import bf16_gain

IDENTITIES = 160
COMPARED = ("variational_distillation", "baseline")
# The demo starts from random weights; the defaults of these keys are for pretrained ones.
FROM_RANDOM_WEIGHTS: dict[str, dict[str, Any]] = {
    "baseline": {"triplet_features": "pooled"},
    "variational_distillation": {
        "self_weight": 0.5,
        "cross_weight": 0.5,
        "consistency_weight": 0.5,
        "mutual_weight": 1.0,
        "mutual_of": "both",
        "test_features": "both",
    },
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The report's path, every score with its printed name, the sentence that compares them, and what can be served.

    `serve` is the command, as words, that serves the first method's model with its gallery of all test images.
    """

    report: Path
    scores: list[tuple[str, Score]]
    conclusion: str
    serve: tuple[str, ...]


def demo_recipe(
    root: Path,
    method: str = "variational_distillation",
    *,
    seed: int = 0,
    precision: str = "32-true",
    overrides: Sequence[str] = (),
) -> Recipe:
    """Return the demo's recipe for a world in SYSU-MM01's layout at `root`: sized for two CPU cores and a few minutes."""
    backbone = {"name": "resnet10t", "weights": "none"}
    return make_recipe(
        {
            "data": {
                "name": "sysu-mm01",
                "root": str(root),
                "height": 80,
                "width": 40,
                "workers": 0,
                "cache": "memory",  # three epochs and their validations read the same images
                "augment": {"flip": 0.5, "pad": 4, "jitter": 0.3, "grey": 0.3},
                "sampler": {"identities": 12, "images": 4},
            },
            "method": {"name": method, "backbone": backbone, **FROM_RANDOM_WEIGHTS.get(method, {})},
            "training": {
                "seed": seed,
                "epochs": 3,
                "precision": precision,
                "validate_every": 1,
                "optimiser": {"name": "adam", "lr": 1e-3, "weight_decay": 5e-4},
                "schedule": {"kind": "cosine", "warmup_epochs": 1},
            },
        },
        overrides,
        source="demo recipe",
    )


def precision(begun: Sequence[Path] = ()) -> str:
    """Return the precision of the runs that were begun; else bf16 if this machine trains faster in it, else float32."""
    for run in begun:
        if (run / "recipe.yaml").is_file():
            return recipe_of_run(run).training.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if (bf16_gain() or 0.0) > 1.1 else "32-true"


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    identities: int = IDENTITIES,
    overrides: Sequence[str] = (),
    say: Callable[[str], Any] = print,
) -> DemoResult:
    """Render, train, evaluate and report into the folder `out`; finished steps are not repeated.

    `overrides` are `key=value` changes to both methods' recipes. Raises `DataError` if `out` holds a `world` that is
    not a rendered one.
    """
    world = out / "world"
    _refuse_foreign(world)
    out.mkdir(parents=True, exist_ok=True)
    if not is_synthetic(world):
        say(f"rendering {identities} people seen by six cameras ...")
        synthesise(world, "sysu-mm01", identities, seed, images_per_camera=8, size=(128, 64), progress=True)
    arithmetic = precision([out / method for method in COMPARED])
    say(f"precision: {arithmetic}, the faster on this machine")
    named: list[tuple[str, Score]] = []
    for method in COMPARED:
        title = METHODS[method].title
        say(f"training: {title} ...")
        train(demo_recipe(world, method, seed=seed, precision=arithmetic, overrides=overrides), out / method)
        named.extend((title, score) for score in evaluate([out / method]))
    recipe = demo_recipe(world, seed=seed, overrides=overrides)
    say("scoring the untrained network and raw pixels ...")
    lowest = floors(open_split(recipe), recipe, say=say)
    named.extend((title, score) for title, (_, scores) in lowest.items() for score in scores)
    page = report(
        [out / method for method in COMPARED],
        out / "report.html",
        below=lowest,
        commands=(f"crossreid demo --out {out.name} --seed {seed}",),
        say=say,
    )
    run, gallery = out / COMPARED[0], out / "gallery"
    fill_gallery(run, gallery, say)
    words = ("serve", str(run), str(gallery), "--images", str(world), "--insecure")
    return DemoResult(page, named, conclusion(named), words)


def _refuse_foreign(world: Path) -> None:
    """Raise `DataError` if `world` exists but is not a rendered world; a world is written completely or not at all."""
    empty = world.is_dir() and not any(world.iterdir())
    if (world.exists() or world.is_symlink()) and not (is_synthetic(world) or empty):
        raise DataError(
            f"{world} exists but is not a rendered world (factors.csv not found in it). Move it away, or choose another --out."
        )


def fill_gallery(run: Path, where: Path, say: Callable[[str], Any] = print) -> None:
    """Fill a gallery with the test images of an evaluated run; one of other weights is moved aside, and `say` reports it."""
    from crossreid.evaluation.features import load
    from crossreid.galleries import ModelMismatch, add_features, open_gallery
    from crossreid.galleries.model_card import ModelCard
    from crossreid.inference.open_model import open_model

    features = load(run / "features.npz")
    opened = open_model(run)
    model = opened.fingerprint
    for _ in range(2):
        try:
            with open_gallery(where, model=model, dimension=features.embeddings.shape[1]) as gallery:
                if not len(gallery):
                    add_features(gallery, features, model=model, roles=("query", "gallery", "both"))
                gallery.note_run(run)
                gallery.note_model(ModelCard.of(opened))
            return
        except ModelMismatch:
            with open_gallery(where) as gallery:  # for writing, so that nobody else uses it
                other = re.sub("[^0-9A-Za-z]+", "-", gallery.model)[:12]
            aside = _free_name(where.with_name(f"{where.name}-of-{other}"))
            os.rename(where, aside)
            say(f"{where} belonged to another model, {other}: it was moved to {aside}, with everything enrolled in it")


def _free_name(path: Path) -> Path:
    """Return the path or, if it is taken, the path with the first number that makes it free."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(name for name in chain([path], numbered) if not os.path.lexists(name))


def conclusion(named: list[tuple[str, Score]]) -> str:
    """Return one sentence: each entry's rank-1 in the first setting, compared with chance."""
    first = named[0][1].setting
    here = [(title, score) for title, score in named if score.setting == first]
    title, best = here[0]
    others = ", ".join(f"{other.lower()} {100 * score.rank(1):.1f}%" for other, score in here[1:])
    return (
        f"{title}: rank-1 {100 * best.rank(1):.1f}% ({first}), {best.rank(1) / best.chance_rank1:.1f} times chance "
        f"({100 * best.chance_rank1:.1f}%); {others}."
    )
