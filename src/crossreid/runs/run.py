"""A run: a folder trained by a recipe, and how to open it.

A run's folder holds recipe.yaml, last.safetensors, best.safetensors, metrics.jsonl, TensorBoard events and, once
evaluated, scores.json and features.npz; those of other data are in evaluations/NAME.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from crossreid.data.catalogue import describe, load
from crossreid.data.checking import counted
from crossreid.data.data_options import PIXELS, DataOptions
from crossreid.data.joined import joined
from crossreid.data.levels import split_with_levels
from crossreid.data.records import Split, labels_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.runs.earlier import as_it_was
from crossreid.runs.folders import numbered_runs, sorted_trials, weights_folder
from crossreid.runs.other_data import OtherData
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.training.checkpoint import Checkpoint, CheckpointError, fit_weights, read_weights


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run: its recipe, its data set and its trained method, in evaluation mode.

    `weights` is the file of the weights; `elsewhere` is the folder for scores and features if they are on other data
    than the run's own, None if they belong in the run's folder.
    """

    folder: Path
    recipe: Recipe
    split: Split
    method: Method
    weights: Path = Path("best.safetensors")
    elsewhere: Path | None = None

    @property
    def results(self) -> Path:
        """Return the folder of its scores and features."""
        return self.elsewhere or self.folder


def open_split(recipe: Recipe) -> Split:
    """Read the data set that a recipe names, or its sources joined.

    Raises:
        CrossreidError: the reader finds an error, or names an unknown protocol.
    """
    data = recipe.data
    if data.sources:
        each = {source.called: _read(data.of_source(source.called)) for source in data.sources}
        return joined(each, data.root)
    return _read(data)


def _read(data: DataOptions) -> Split:
    split = split_with_levels(load(data.name, data.root, **data.options), data.levels)
    if split.protocol not in PROTOCOLS:
        raise CrossreidError(
            f"data set {data.name!r}: its reader names the protocol {split.protocol!r}, which is unknown. Known: "
            f"{', '.join(PROTOCOLS)}."
        )
    return split


def with_cameras(recipe: Recipe, split: Split) -> Recipe:
    """Return the recipe with the training cameras filled in, if its network embeds cameras and the recipe does not name them."""
    method = recipe.method.with_cameras(record.camera for record in split.train)
    return recipe if method is recipe.method else recipe.model_copy(update={"method": method})


def split_trained_on(run: Run) -> Split | None:
    """Return a run's training split if it is opened on that; None on other data or on one of several data sets."""
    return run.split if run.elsewhere is None and weights_folder(run.folder) == run.folder else None


def fresh_method(recipe: Recipe, split: Split) -> Method:
    """Return the recipe's method as training starts from it: the same weights for the same seed."""
    recipe = with_cameras(recipe, split)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        return build_method(recipe.method, len(labels_of(split.train)), normalisation=recipe.data.normalisation)


def open_run(folder: Path, checkpoint: str = "best", *, split: Split | None = None, on: OtherData | None = None) -> Run:
    """Open a trained run.

    Args:
        split: its data set, if it has been read already.
        on: other data or options to test it on instead of its own.

    Raises:
        CrossreidError: `folder` holds no run, or not the requested checkpoint.
    """
    weights = checkpoint_of(folder, checkpoint)
    recipe = recipe_of_run(folder)
    stored = read_weights(weights)
    refuse_other_pixels(recipe, weights, stored)
    elsewhere = None
    if on is not None:
        recipe = on.recipe(recipe)
        elsewhere = folder / "evaluations" / on.label(recipe)
    split = split or open_split(recipe)
    if on is None and weights_folder(folder) == folder:
        method = build_method(
            without_download(recipe.method), len(labels_of(split.train)), normalisation=recipe.data.normalisation
        )
        fit_weights(method, stored.weights, weights)
    else:  # its training identities are different
        method = method_of_weights(recipe, stored.weights, weights)
    if torch.cuda.is_available():
        method = method.cuda()
    return Run(folder, recipe, split, method.eval(), weights, elsewhere)


def method_of_weights(recipe: Recipe, weights: Mapping[str, Tensor], file: Path) -> Method:
    """Return the recipe's method with these weights; the number of training identities follows from their shapes.

    Raises:
        CheckpointError: the weights do not belong to the method that the recipe describes.
    """
    options, seen = without_download(recipe.method), recipe.data.normalisation
    with torch.random.fork_rng(devices=[]):
        method = build_method(options, 2, normalisation=seen)
        differ = {
            theirs
            for name, tensor in method.state_dict().items()
            if name in weights and tensor.ndim == weights[name].ndim
            for mine, theirs in zip(tensor.shape, weights[name].shape, strict=True)
            if mine == 2 != theirs
        }
        if len(differ) == 1:
            method = build_method(options, differ.pop(), normalisation=seen)
    fit_weights(method, dict(weights), file)  # strict, so that a wrong number is an error
    return method


def checkpoint_of(folder: Path, checkpoint: str = "best") -> Path:
    """Return the file of a run's best or last checkpoint; without validation, the last counts as the best.

    Raises:
        CrossreidError: `folder` holds no run, or not the requested checkpoint.
    """
    if checkpoint not in ("best", "last"):
        raise CrossreidError(f"checkpoint {checkpoint!r}: expected best or last.")
    if folder.suffix == ".ckpt":
        raise CrossreidError(
            f"{folder} is a MindSpore checkpoint. Turn it into a run: `crossreid import {folder} --out RUN`."
        )
    if not (folder / "recipe.yaml").is_file():
        if trials := sorted_trials(folder):
            raise CrossreidError(
                f"{folder} holds {len(trials)} trials, each a run of its own. Name one, for example {trials[0]}."
            )
        if seeds := numbered_runs(folder, "seed-"):
            raise CrossreidError(
                f"{folder} holds {len(seeds)} runs of different seeds. Name one of them, for example {seeds[0]}, or compare folders "
                "of seeds with `crossreid compare`."
            )
        raise CrossreidError(
            f"{folder} holds no run: recipe.yaml not found. Expected a folder that `crossreid train` wrote."
        )
    kept = weights_folder(folder)
    weights = kept / f"{checkpoint}.safetensors"
    if not weights.is_file() and checkpoint == "best":
        weights = kept / "last.safetensors"
    if not weights.is_file():
        raise CrossreidError(f"{folder} holds no checkpoint {weights.name}. Train it first: `crossreid train`.")
    return weights


def refuse_other_pixels(recipe: Recipe, path: Path, checkpoint: Checkpoint) -> None:
    """Raise if a run's recipe.yaml prepares images differently from how the checkpoint in `path` was trained.

    Raises:
        CheckpointError: they differ; the difference is named.
    """
    kept = as_it_was(checkpoint.facts.get("recipe"))
    trained = kept.get("data") if isinstance(kept, dict) else None
    if isinstance(trained, dict):
        trained = {"levels": "full", **trained}
    now = recipe.data.model_dump(mode="json", include=set(PIXELS))
    for key, value in now.items():
        if not isinstance(trained, dict):
            continue
        # For a run on several data sets, the keys of each one.
        listed = trained.get("sources")
        sources = listed if isinstance(listed, list) else []
        of_sources = [source.get(key) for source in sources if isinstance(source, dict)]
        if trained.get(key, value) != value and value not in [one for one in of_sources if one is not None]:
            raise CheckpointError(
                f"{path} was trained with data.{key} {trained[key]}, but its recipe.yaml says {value}. Restore the old value; to use "
                "another one, train a new run."
            )


def is_synthetic(root: Path) -> bool:
    """Return whether the data set at `root` is a rendered world, for which published figures mean nothing."""
    return (root / "factors.csv").is_file()


def is_official(split: Split) -> bool:
    """Return whether the test is the published one: its own protocol, and the known number of images."""
    known = describe(split.name)
    if is_synthetic(split.root) or known.protocol != split.protocol:
        return False
    found = counted(split)
    wanted = {what: count for what, count in known.official.items() if what.startswith(("test ", "query ", "gallery "))}
    return bool(wanted) and all(found.get(what) == count for what, count in wanted.items())
