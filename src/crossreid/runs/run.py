"""A run: a folder that was trained by a recipe, and what opens it.

A run's folder holds recipe.yaml, last.safetensors, best.safetensors, metrics.jsonl, TensorBoard events and, once
evaluated, scores.json and features.npz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from crossreid.data.catalogue import load
from crossreid.data.levels import split_with_levels
from crossreid.data.records import Split, labels_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.runs.folders import sorted_trials
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.training.checkpoint import Checkpoint, CheckpointError, load_weights


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run: its recipe, its data set and its trained method, in evaluation mode."""

    folder: Path
    recipe: Recipe
    split: Split
    method: Method


def open_split(recipe: Recipe) -> Split:
    """The data set that a recipe names.

    Raises:
        CrossreidError: what its reader finds wrong, or a reader that names a protocol that there is not.
    """
    split = split_with_levels(load(recipe.data.name, recipe.data.root, **recipe.data.options), recipe.data.levels)
    if split.protocol not in PROTOCOLS:
        raise CrossreidError(
            f"data set {recipe.data.name!r}: its reader names the protocol {split.protocol!r}, which is unknown. Known: "
            f"{', '.join(PROTOCOLS)}."
        )
    return split


def fresh_method(recipe: Recipe, split: Split) -> Method:
    """The recipe's method as training starts from it: the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        return build_method(recipe.method, len(labels_of(split.train)), normalisation=recipe.data.normalisation)


def open_run(folder: Path, checkpoint: str = "best", *, split: Split | None = None) -> Run:
    """Open a trained run; `split` is its data set where that is read already.

    Raises:
        CrossreidError: `folder` holds no run, or not the checkpoint asked for.
    """
    weights = checkpoint_of(folder, checkpoint)
    recipe = recipe_of_run(folder)
    split = split or open_split(recipe)
    method = build_method(
        without_download(recipe.method), len(labels_of(split.train)), normalisation=recipe.data.normalisation
    )
    refuse_other_pixels(recipe, weights, load_weights(method, weights))
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


def refuse_other_pixels(recipe: Recipe, path: Path, checkpoint: Checkpoint) -> None:
    """Raise where a run's recipe.yaml has other pixels than the checkpoint in `path` was trained on.

    Raises:
        CheckpointError: it has; what differs is named.
    """
    kept = checkpoint.facts.get("recipe")
    trained = kept.get("data") if isinstance(kept, dict) else None
    now = recipe.data.model_dump(mode="json", include={"height", "width", "interpolation", "normalise", "levels"})
    for key, value in now.items():
        if isinstance(trained, dict) and trained.get(key, value) != value:
            raise CheckpointError(
                f"{path} was trained with data.{key} {trained[key]}, its recipe.yaml says {value}. Put the old value back; for "
                "another one, train anew."
            )


def is_synthetic(root: Path) -> bool:
    """Whether the data set at `root` is a rendered world, on which published figures say nothing."""
    return (root / "factors.csv").is_file()


def on_synthetic_data(folder: Path) -> bool:
    """Whether a run, or the first of a folder of trials, is on a rendered world."""
    first = (sorted_trials(folder) or [folder])[0]
    return is_synthetic(recipe_of_run(first).data.root)
