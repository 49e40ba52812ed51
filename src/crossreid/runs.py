"""A run: a recipe, a folder, and what is done with them. Data, methods, training and evaluation meet here only.

A run's folder holds recipe.yaml, last.safetensors, best.safetensors, metrics.jsonl, TensorBoard events and, once
evaluated, scores.json and features.npz.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crossreid.data.catalog import load
from crossreid.data.loader import TrainLoader
from crossreid.data.records import Modality, Record, Split, in_order, labels_of
from crossreid.evaluation.arrays import join, read_side
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.embedding import embed, observe, pixels
from crossreid.evaluation.features import Features, features_of, save
from crossreid.evaluation.matlab import evaluate_sysu_features, write_sysu_features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.protocols import evaluate as evaluate_protocol
from crossreid.evaluation.reranking import Normalise, Reranking
from crossreid.evaluation.scores import Score, combine
from crossreid.methods import build_method
from crossreid.methods.method import Method
from crossreid.models.heads import concatenate_normalised
from crossreid.recipe import Recipe, load_recipe
from crossreid.training.checkpoint import load_weights
from crossreid.training.loop import FitResult, fit, make_fabric

Advance = Callable[..., object]


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
    result = fit(
        fresh_method(recipe, split),
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


def validation_scores(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, float]:
    """Rank-1, mAP and mINP on the validation identities by the protocol's first setting."""
    features = embed_features(method, split, recipe, validation=True)
    first = PROTOCOLS[split.protocol].settings[0].name
    score = score_features(features, split, recipe, settings=[first])[0]
    return {"rank-1": score.rank(1), "mAP": score.mAP, "mINP": score.mINP}


def open_run(folder: Path, checkpoint: str = "best") -> Run:
    """Open a trained run.

    Raises:
        ValueError: `folder` holds no run, or not the checkpoint asked for.
    """
    if checkpoint not in ("best", "last"):
        raise ValueError(f"checkpoint {checkpoint!r}: expected best or last.")
    if not (folder / "recipe.yaml").is_file():
        raise ValueError(
            f"{folder} holds no run: recipe.yaml not found. Expected a folder that `crossreid train` wrote."
        )
    weights = folder / f"{checkpoint}.safetensors"
    if not weights.is_file() and checkpoint == "best":
        weights = folder / "last.safetensors"
    if not weights.is_file():
        raise ValueError(f"{folder} holds no checkpoint {weights.name}. Train it first: `crossreid train`.")
    recipe = load_recipe(folder / "recipe.yaml")
    split = open_split(recipe)
    bare = recipe.method.model_copy(update={"backbone": recipe.method.backbone.model_copy(update={"weights": "none"})})
    method = build_method(bare, len(labels_of(split.train)))
    load_weights(method, weights)
    if torch.cuda.is_available():
        method = method.cuda()
    return Run(folder, recipe, split, method.eval())


def embed_features(
    method: nn.Module, split: Split, recipe: Recipe, *, validation: bool = False, advance: Advance | None = None
) -> Features:
    """Features by `method` of the test images of `split`, or of its validation images (infrared ones the queries)."""
    query, gallery = roles(split, validation=validation)
    records = in_order({*query, *gallery})
    if advance is not None:
        advance(0, len(records))
    return features_of(query, gallery, embed(method, records, advance=advance, **reading(recipe)))


def reading(recipe: Recipe) -> dict[str, Any]:
    """How `embed` and `observe` read test images by a recipe."""
    return {
        "height": recipe.data.height,
        "width": recipe.data.width,
        "options": recipe.evaluation,
        "workers": min(recipe.data.workers, 8),
    }


def space_features(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, Features]:
    """Test features by v, by z and by both, each over all streams: what `test_features` chooses among."""
    streams = stream_features(method, split, recipe, tested=True)
    v, z = (
        concatenate_normalised([torch.from_numpy(parts[place].embeddings) for parts in streams.values()])
        for place in (0, 1)
    )
    spaces = {"v": v, "z": z, "both": concatenate_normalised([v, z])}
    return {name: features_of(*roles(split), embeddings) for name, embeddings in spaces.items()}


def stream_features(
    method: nn.Module, split: Split, recipe: Recipe, *, tested: bool = False
) -> dict[str, tuple[Features, Features]]:
    """v and z, not normalised, of the test images by each stream of a three-branch method."""
    query, gallery = roles(split)
    streams = observe(method, in_order({*query, *gallery}), tested=tested, **reading(recipe))
    return {name: (features_of(query, gallery, v), features_of(query, gallery, z)) for name, (v, z) in streams.items()}


def roles(split: Split, *, validation: bool = False) -> tuple[list[Record], list[Record]]:
    """The query and the gallery images of a split's test half or of its validation identities."""
    if not validation:
        return list(split.query), list(split.gallery)
    infrared = [record for record in split.validation if record.modality == Modality.INFRARED]
    return infrared, [record for record in split.validation if record.modality == Modality.VISIBLE]


def score_features(
    features: Features,
    split: Split,
    recipe: Recipe,
    *,
    metric: str | None = None,
    settings: Sequence[str] | None = None,
    rerank: Reranking | None = None,
) -> list[Score]:
    """The scores of features by the data set's protocol, one a setting (or of the named `settings`)."""
    options = recipe.evaluation
    draw = None if options.draw == "official" else options.draw
    listed = split.root / "exp" / "rand_perm_cam.mat"
    official = split.protocol == "sysu-mm01" and draw is None and listed.is_file()
    return evaluate_protocol(
        features,
        split.protocol,
        metric=metric or options.metric,
        permutations=load_permutations(listed) if official else None,
        draw=draw,
        trials=options.trials,
        seed=options.seed,
        trial=split.trial,
        settings=settings,
        rerank=rerank,
    )


def evaluate(
    folders: Sequence[Path],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: Reranking | None = None,
    advance: Advance | None = None,
) -> list[Score]:
    """Scores of a run by its data set's protocol; of several runs, RegDB's trials, their average.

    A folder of trial-* runs stands for those runs. With `rerank` each setting's score is followed by the re-ranked one.
    Writes scores.json and features.npz beside each checkpoint.
    """
    runs = [run for folder in folders for run in (sorted_trials(folder) or [folder])]
    each = [evaluate_run(open_run(run, checkpoint), metric=metric, rerank=rerank, advance=advance)[1] for run in runs]
    if len(each) == 1:
        return each[0]
    together = [combine(list(parts)) for parts in zip(*each, strict=True)]
    write_json(folders[0] / "scores.json", [score.to_json() for score in together])
    return together


def evaluate_run(
    run: Run, *, metric: str | None = None, rerank: Reranking | None = None, advance: Advance | None = None
) -> tuple[Features, list[Score]]:
    """Features and scores of one run, written to features.npz and scores.json in its folder."""
    features = embed_features(run.method, run.split, run.recipe, advance=advance)
    scores = score_features(features, run.split, run.recipe, metric=metric)
    if rerank is not None:
        corrected = score_features(features, run.split, run.recipe, metric=metric, rerank=rerank)
        scores = [score for pair in zip(scores, corrected, strict=True) for score in pair]
    save(features, run.folder / "features.npz")
    write_json(run.folder / "scores.json", [score.to_json() for score in scores])
    return features, scores


def sorted_trials(folder: Path) -> list[Path]:
    """The trial-* runs in a folder, by number."""
    return numbered_runs(folder, "trial-")


def numbered_runs(folder: Path, prefix: str) -> list[Path]:
    """The runs in a folder that are called `prefix` and a number, by number."""
    found = [path.parent for path in folder.glob(f"{prefix}*/recipe.yaml")]
    return sorted(found, key=lambda path: int(path.name.removeprefix(prefix)))


def evaluate_features(
    features: Path, protocol: str, splits: Path | None, *, mode: str = "all", shots: int = 1, metric: str = "euclidean"
) -> Score:
    """The score of features that another tool wrote in SYSU-MM01's official MATLAB arrangement."""
    if protocol != "sysu-mm01":
        raise ValueError(f"--protocol {protocol!r}: features in the MATLAB arrangement exist for sysu-mm01 only.")
    if splits is None:
        raise ValueError(
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
        raise ValueError(f"precision '{precision}': expected float32 or float64.")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device '{device}': there is no GPU that this PyTorch can use; choose cpu.")
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
        raise ValueError(f"--format {format!r}: expected npz or sysu-mat.")
    run = open_run(folder, checkpoint)
    if format == "sysu-mat" and run.split.protocol != "sysu-mm01":
        raise ValueError(f"--format sysu-mat: the run is on {run.split.name}; the arrangement is SYSU-MM01's.")
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
            raise ValueError(f"{text!r}: expected numbers and ranges, for example 1-10 or 1,3,5.")
        result.extend(range(int(first), int(last if dash else first) + 1))
    return result


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename it, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
