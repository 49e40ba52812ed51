"""A run: a folder that was trained by a recipe, and what opens it.

A run's folder holds recipe.yaml, last.safetensors, best.safetensors, metrics.jsonl, TensorBoard events and, once
evaluated, scores.json and features.npz.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from crossreid.data.catalogue import load
from crossreid.data.records import Split, labels_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.arrays import join, read_side
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.matlab import evaluate_sysu_features
from crossreid.evaluation.protocols import evaluate as evaluate_protocol
from crossreid.evaluation.reranking import Normalise, Reranking
from crossreid.evaluation.scores import Score
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.runs.folders import sorted_trials
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.training.checkpoint import load_weights


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


def is_synthetic(root: Path) -> bool:
    """Whether the data set at `root` is a rendered world, on which published figures say nothing."""
    return (root / "factors.csv").is_file()


def on_synthetic_data(folder: Path) -> bool:
    """Whether a run, or the first of a folder of trials, is on a rendered world."""
    first = (sorted_trials(folder) or [folder])[0]
    return is_synthetic(load_recipe(first / "recipe.yaml").data.root)


def evaluate_features(
    features: Path, protocol: str, splits: Path | None, *, mode: str = "all", shots: int = 1, metric: str = "euclidean"
) -> Score:
    """The score of features that another tool wrote in SYSU-MM01's official MATLAB arrangement."""
    if protocol != "sysu-mm01":
        raise CrossreidError(f"--protocol {protocol!r}: features in the MATLAB arrangement exist for sysu-mm01 only.")
    if splits is None:
        raise CrossreidError(
            "--features needs --splits DIR, the folder that holds test_id.txt or .mat and rand_perm_cam.mat."
        )
    return evaluate_sysu_features(features, splits, mode=mode, shots=shots, metric=metric)  # type: ignore[arg-type]


def rank_files(
    queries: Path,
    gallery: Path,
    protocol: str,
    *,
    settings: Sequence[str] | None = None,
    metric: str = "cosine",
    splits: Path | None = None,
    draw: str | None = None,
    trials: int = 10,
    seed: int = 0,
    rerank: Reranking | None = None,
    normalise: Normalise | None = None,
    device: str = "cpu",
    precision: str = "float64",
) -> tuple[list[Score], dict[str, float]]:
    """Scores of two files of embeddings by a protocol, one a setting, and the seconds of `loading` and `ranking`.

    `splits` is a folder with SYSU-MM01's rand_perm_cam.mat.
    """
    if precision not in ("float32", "float64"):
        raise CrossreidError(f"precision '{precision}': expected float32 or float64.")
    if device != "cpu" and not torch.cuda.is_available():
        raise CrossreidError(f"device '{device}': there is no GPU that this PyTorch can use; choose cpu.")
    start = time.perf_counter()
    features = join(read_side(queries), read_side(gallery), protocol)
    permutations = load_permutations(splits / "rand_perm_cam.mat") if splits is not None else None
    loaded = time.perf_counter()
    scores = evaluate_protocol(
        features,
        protocol,
        metric=metric,
        permutations=permutations,
        draw=draw,
        trials=trials,
        seed=seed,
        settings=settings,
        rerank=rerank,
        normalise=normalise,
        device=device,
        dtype=getattr(torch, precision),
    )
    return scores, {"loading": loaded - start, "ranking": time.perf_counter() - loaded}
