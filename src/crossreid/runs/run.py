"""A run: a recipe, a folder, and what is done with them. Data, methods, training and evaluation meet here only.

A run's folder holds recipe.yaml, last.safetensors, best.safetensors, metrics.jsonl, TensorBoard events and, once
evaluated, scores.json and features.npz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossreid.data.catalogue import load
from crossreid.data.loading import TrainLoader
from crossreid.data.records import Split, labels_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import Pixels, pixels
from crossreid.evaluation.features import Features, features_of, save
from crossreid.evaluation.matlab import write_sysu_features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking import Reranking
from crossreid.evaluation.scores import Score, combine
from crossreid.evaluation.sets import SetSetting
from crossreid.files import write_json, write_text
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.methods.view_distillation import ViewDistillation, start_from
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.scoring import (
    Advance,
    comparisons,
    embed_compared,
    embed_features,
    roles,
    score_features,
    score_sets,
)
from crossreid.training.checkpoint import load_weights
from crossreid.training.loop import FitResult, fit, make_fabric


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run: its recipe, its data set and its trained method, in evaluation mode."""

    folder: Path
    recipe: Recipe
    split: Split
    method: Method


def open_split(recipe: Recipe) -> Split:
    """The data set that a recipe names."""
    return load(recipe.data.name, recipe.data.root, **recipe.data.options)


def fresh_method(recipe: Recipe, split: Split) -> Method:
    """The recipe's method as training starts from it: the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        return build_method(recipe.method, len(labels_of(split.train)))


def train(recipe: Recipe, out: Path) -> FitResult:
    """Train by `recipe` into the folder `out`, or go on with the run that is there.

    Validation is by the data set's protocol on its validation identities, where it has any; the best checkpoint is
    that of the highest `training.monitor`, and the last where there is nothing to validate on.
    """
    split = open_split(recipe)
    fabric = make_fabric(recipe.training)
    loader = TrainLoader(
        split.train, recipe.data, seed=recipe.training.seed, rank=fabric.global_rank, world=fabric.world_size
    )
    method = fresh_method(recipe, split)
    if isinstance(method, ViewDistillation):
        prepare_student(method, recipe, split)
    result = fit(
        method,
        loader,
        steps_per_epoch=len(loader),
        options=recipe.training,
        out=out,
        fabric=fabric,
        recipe=recipe.model_dump(mode="json"),
        validate=(lambda method: validation_scores(method, split, recipe)) if split.validation else None,
        on_start=lambda: write_text(out / "recipe.yaml", recipe.as_yaml()),
    )
    if loader.bad_images and fabric.is_global_zero:
        print(f"{len(loader.bad_images)} unreadable training images were skipped; see the warnings above.")
    return result


def prepare_student(student: ViewDistillation, recipe: Recipe, split: Split) -> None:
    """Give the network its start and its teacher, as the recipe names them.

    Raises:
        CrossreidError: no such run, a teacher of other identities, or a start of another architecture.
    """
    options = student.options
    if options.start == "teacher" and options.teacher is None:
        raise CrossreidError("method.start is 'teacher', but method.teacher names none. Give the folder of its run.")
    if options.start != "weights":
        start = options.teacher if options.start == "teacher" else options.start
        start_from(student, open_run(Path(str(start))).method, reset_last_stage=options.reset_last_stage)
    if options.teacher is None:
        return
    teacher = open_run(options.teacher, split=split if _same_data(options.teacher, recipe) else None)
    own, other = labels_of(split.train), labels_of(teacher.split.train)
    if own != other:
        raise CrossreidError(
            f"the teacher {options.teacher} was trained on {len(other)} identities, the student is to be on {len(own)}, and "
            "they are not the same. Train both on the same training identities."
        )
    student.teach(teacher.method)


def _same_data(folder: Path, recipe: Recipe) -> bool:
    there = load_recipe(folder / "recipe.yaml").data if (folder / "recipe.yaml").is_file() else None
    keys = ("name", "root", "options")
    return there is not None and all(getattr(there, key) == getattr(recipe.data, key) for key in keys)


def validation_scores(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, float]:
    """Rank-1, mAP and mINP on the validation identities by the protocol's first setting or comparison."""
    if comparisons(split, recipe):
        score = score_sets(embed_compared(method, split, recipe, validation=True, first=True), split, recipe)[0]
    else:
        features = embed_features(method, split, recipe, validation=True)
        first = PROTOCOLS[split.protocol].settings[0].name
        score = score_features(features, split, recipe, settings=[first])[0]
    return {"rank-1": score.rank(1), "mAP": score.mAP, "mINP": score.mINP}


def open_run(folder: Path, checkpoint: str = "best", *, split: Split | None = None) -> Run:
    """Open a trained run; `split` is its data set where that is read already.

    Raises:
        CrossreidError: `folder` holds no run, or not the checkpoint asked for.
    """
    weights = checkpoint_of(folder, checkpoint)
    recipe = load_recipe(folder / "recipe.yaml")
    split = split or open_split(recipe)
    method = build_method(without_download(recipe.method), len(labels_of(split.train)))
    load_weights(method, weights)
    if torch.cuda.is_available():
        method = method.cuda()
    return Run(folder, recipe, split, method.eval())


def checkpoint_of(folder: Path, checkpoint: str = "best") -> Path:
    """The file of a run's best or last checkpoint; where nothing was validated, the last stands for the best.

    Raises:
        CrossreidError: `folder` holds no run, or not the checkpoint asked for.
    """
    if checkpoint not in ("best", "last"):
        raise CrossreidError(f"checkpoint {checkpoint!r}: expected best or last.")
    if not (folder / "recipe.yaml").is_file():
        raise CrossreidError(
            f"{folder} holds no run: recipe.yaml not found. Expected a folder that `crossreid train` wrote."
        )
    weights = folder / f"{checkpoint}.safetensors"
    if not weights.is_file() and checkpoint == "best":
        weights = folder / "last.safetensors"
    if not weights.is_file():
        raise CrossreidError(f"{folder} holds no checkpoint {weights.name}. Train it first: `crossreid train`.")
    return weights


def evaluate(
    folders: Sequence[Path],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: Reranking | None = None,
    settings: Sequence[SetSetting] | None = None,
    advance: Advance | None = None,
) -> list[Score]:
    """Scores of a run by its data set's protocol; of several runs, RegDB's trials, their average.

    A folder of trial-* runs stands for those runs. With `rerank` each setting's score is followed by the re-ranked one.
    Writes scores.json and features.npz beside each checkpoint, unless `settings` ask for comparisons of their own.
    """
    runs = [run for folder in folders for run in (sorted_trials(folder) or [folder])]
    each: list[list[Score]] = []
    for folder in runs:
        run = open_run(folder, checkpoint)
        each.append(evaluate_run(run, metric=metric, rerank=rerank, settings=settings, advance=advance)[1])
    if len(each) == 1:
        return each[0]
    together = [combine(list(parts)) for parts in zip(*each, strict=True)]
    if settings:
        return together
    write_json(folders[0] / "scores.json", [score.to_json() for score in together])
    return together


def evaluate_run(
    run: Run,
    *,
    metric: str | None = None,
    rerank: Reranking | None = None,
    settings: Sequence[SetSetting] | None = None,
    advance: Advance | None = None,
) -> tuple[Features, list[Score]]:
    """Features and scores of one run, written to features.npz and scores.json in its folder.

    Of comparisons of images and videos the features are the first one's; the others' are beside it. Where `settings` ask
    for some of their own, nothing is written.
    """
    compared: dict[str, Features] = {}
    if settings or comparisons(run.split, run.recipe):
        compared = embed_compared(run.method, run.split, run.recipe, settings=settings, advance=advance)
        features = next(iter(compared.values()))
    else:
        features = embed_features(run.method, run.split, run.recipe, advance=advance)

    def scored(**options: Any) -> list[Score]:
        if compared:
            return score_sets(compared, run.split, run.recipe, metric=metric, **options)
        return score_features(features, run.split, run.recipe, metric=metric, **options)

    scores = scored()
    if rerank is not None:
        scores = [score for pair in zip(scores, scored(rerank=rerank), strict=True) for score in pair]
    if settings:
        return features, scores
    save(features, run.folder / "features.npz")
    for name, other in list(compared.items())[1:]:
        save(other, run.folder / f"features-{name.replace(', ', '-').replace(' ', '-')}.npz")
    write_json(run.folder / "scores.json", [score.to_json() for score in scores])
    return features, scores


def sorted_trials(folder: Path) -> list[Path]:
    """The trial-* runs in a folder, by number."""
    return numbered_runs(folder, "trial-")


def numbered_runs(folder: Path, prefix: str) -> list[Path]:
    """The runs in a folder that are called `prefix` and a number, by number."""
    found = [path.parent for path in folder.glob(f"{prefix}*/recipe.yaml")]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


def write_features(
    folder: Path,
    out: Path | None = None,
    *,
    format: str = "npz",
    checkpoint: str = "best",
    advance: Advance | None = None,
) -> Path:
    """Write a run's test features as .npz or, for SYSU-MM01, in the official MATLAB arrangement."""
    if format not in ("npz", "sysu-mat"):
        raise CrossreidError(f"--format {format!r}: expected npz or sysu-mat.")
    run = open_run(folder, checkpoint)
    if format == "sysu-mat" and run.split.protocol != "sysu-mm01":
        raise CrossreidError(f"--format sysu-mat: the run is on {run.split.name}; the arrangement is SYSU-MM01's.")
    if comparisons(run.split, run.recipe):
        features = next(iter(embed_compared(run.method, run.split, run.recipe, first=True, advance=advance).values()))
    else:
        features = embed_features(run.method, run.split, run.recipe, advance=advance)
    if format == "npz":
        out = out or folder / "features.npz"
        save(features, out)
        return out
    out = out or folder / "features"
    write_sysu_features(features, out)
    return out


def floors(split: Split, recipe: Recipe) -> dict[str, tuple[Features, list[Score]]]:
    """What any training must beat: the same network untrained, and raw pixels."""
    if comparisons(split, recipe):
        scored = {}
        small = recipe.model_copy(update={"data": recipe.data.model_copy(update={"height": 32, "width": 16})})
        networks = {"Untrained network": (fresh_method(recipe, split), recipe), "Raw pixels": (Pixels(), small)}
        for name, (network, seen) in networks.items():
            compared = embed_compared(network, split, seen)
            scored[name] = next(iter(compared.values())), score_sets(compared, split, recipe)
        return scored
    untrained = embed_features(fresh_method(recipe, split).eval(), split, recipe)
    raw = features_of(*roles(split), pixels(split.test))
    return {
        "Untrained network": (untrained, score_features(untrained, split, recipe)),
        "Raw pixels": (raw, score_features(raw, split, recipe)),
    }


def is_synthetic(root: Path) -> bool:
    """Whether the data set at `root` is a rendered world, on which published figures say nothing."""
    return (root / "factors.csv").is_file()


def on_synthetic_data(folder: Path) -> bool:
    """Whether a run, or the first of a folder of trials, is on a rendered world."""
    first = (sorted_trials(folder) or [folder])[0]
    return is_synthetic(load_recipe(first / "recipe.yaml").data.root)


def numbers(text: str) -> list[int]:
    """`1-3,7` to [1, 2, 3, 7]."""
    result: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise CrossreidError(f"{text!r}: expected numbers and ranges, for example 1-10 or 1,3,5.")
        result.extend(range(int(first), int(last if dash else first) + 1))
    return result
