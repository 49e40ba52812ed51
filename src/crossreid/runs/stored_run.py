"""A run's model as its folder stores it: recipe, weights and fingerprint. Needs no data set and no download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.methods.method import Method
from crossreid.models.domain_norm import settle
from crossreid.runs.fingerprint import fingerprint_of
from crossreid.runs.folders import sorted_trials, stage_runs
from crossreid.runs.preprocessing import Preprocessing
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.runs.run import checkpoint_of, method_of_weights, refuse_other_pixels
from crossreid.runs.yaml_text import read_yaml
from crossreid.training.checkpoint import Checkpoint, read_weights


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run's folder, one of its checkpoint files, and the weights to use: averaged ones, if there are any."""

    folder: Path
    file: Path
    recipe: Recipe
    weights: Mapping[str, Tensor]

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.recipe)

    @property
    def fingerprint(self) -> str:
        facts = {
            "method": _as_written(self.folder)["method"],
            "preprocessing": self.preprocessing.to_json(),
            "flip": self.recipe.evaluation.flip,
        }
        return fingerprint_of(self.weights, facts)


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """Return how a run of a recipe preprocesses a decoded image."""
    data = recipe.data
    scale = data.normalisation
    return Preprocessing(data.height, data.width, data.resizing, scale.mean, scale.std, levels=data.levels)


def read_run(path: Path, checkpoint: str = "best") -> StoredRun:
    """Read a run (for a folder of stages the last student's) without its network.

    Raises:
        CrossreidError: `path` holds no run, several trials, or not the requested checkpoint.
    """
    folder = run_folder(path)
    file = checkpoint_of(folder, checkpoint)
    recipe = recipe_of_run(folder)
    stored = read_weights(file)
    refuse_other_pixels(recipe, file, stored)
    return StoredRun(folder, file, recipe, stored.weights)


def run_folder(path: Path) -> Path:
    """Return the run to embed with: `path`, or for a folder of stages its last student's.

    Raises:
        CrossreidError: `path` holds trials, each a separate model.
    """
    if trials := sorted_trials(path):
        raise CrossreidError(
            f"{path} holds {len(trials)} trials, each a separate model. Name one, for example {trials[0]}."
        )
    staged = stage_runs(path)
    return staged[-1] if staged else path


def run_fingerprint(path: Path, checkpoint: str = "best") -> str:
    """Return the fingerprint that `open_model` gives a run, from its recipe and checkpoint alone. Raises as it does."""
    return read_run(path, checkpoint).fingerprint


def fingerprint_of_file(file: Path, stored: Checkpoint) -> str | None:
    """Return the fingerprint of a checkpoint that was already read; None if there is no recipe beside it."""
    if not (file.parent / "recipe.yaml").is_file():
        return None
    return StoredRun(file.parent, file, recipe_of_run(file.parent), stored.weights).fingerprint


def network_of(run: StoredRun) -> Method:
    """Return the method with the run's weights; the number of training identities follows from their shapes.

    Raises:
        CheckpointError: the weights do not belong to the method that the recipe describes.
    """
    method = method_of_weights(run.recipe, run.weights, run.file)
    settle(method)  # norms by domain become ordinary ones, which can be fused and exported
    return method


def _as_written(folder: Path) -> dict[str, Any]:
    """Return the recipe as stored: keys added by later versions must not change an old run's fingerprint."""
    given: dict[str, Any] = read_yaml((folder / "recipe.yaml").read_text(encoding="utf-8"))
    return given
