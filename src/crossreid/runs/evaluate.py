"""Evaluating runs by their data set's protocol, validating them while they train, and what any training must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from crossreid.data.records import Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import Pixels, pixels
from crossreid.evaluation.features import Features, features_of, save
from crossreid.evaluation.matlab import write_sysu_features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking import Reranking, make_reranking
from crossreid.evaluation.scores import Score, combine
from crossreid.evaluation.sets import SetSetting, image_counts
from crossreid.files import write_json
from crossreid.runs.folders import sorted_trials, stage_runs
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import Run, fresh_method, open_run
from crossreid.runs.scoring import (
    Advance,
    comparisons,
    embed_compared,
    embed_features,
    roles,
    score_features,
    score_sets,
)

VALIDATED = ("rank-1", "mAP", "mINP")  # what `validation_scores` gives


def evaluate(
    runs: Path | str | Sequence[Path | str],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: str | Reranking | None = None,
    query_images: str | None = None,
    advance: Advance | None = None,
) -> list[Score]:
    """Scores of runs by their data set's protocol, one for each setting: what `evaluate_each` returns, in one list.

    Args:
        runs: a run; a folder of a two-stage recipe, whose teacher and students are scored one after another; a folder of
            trial-* runs, or several runs, which are averaged as RegDB's trials are.
        metric: `euclidean` or `cosine`; the recipe's by default.
        checkpoint: `best` or `last`.
        rerank: `k-reciprocal`, `query-expansion` or one of their options objects: each setting's score is followed by the
            re-ranked one.
        query_images: numbers of images with commas, or `all`: queries of so many images of a tracklet against videos.
        advance: called with (0, images) and then with images as they are embedded.

    Raises:
        CrossreidError: no run, or what cannot be scored as asked.
    """
    each = evaluate_each(
        runs, metric=metric, checkpoint=checkpoint, rerank=rerank, query_images=query_images, advance=advance
    )
    return [score for scores in each.values() for score in scores]


def evaluate_each(
    runs: Path | str | Sequence[Path | str],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: str | Reranking | None = None,
    query_images: str | None = None,
    advance: Advance | None = None,
) -> dict[Path, list[Score]]:
    """As `evaluate`, by run: scores of each stage of a two-stage recipe by its folder, of all others together by the first.

    Writes scores.json and features.npz beside each checkpoint, unless `query_images` asks for comparisons of their own.
    """
    folders = [Path(runs)] if isinstance(runs, Path | str) else [Path(run) for run in runs]
    if not folders:
        raise CrossreidError("evaluate: expected a run or more.")
    options: dict[str, Any] = {
        "metric": metric,
        "rerank": make_reranking(rerank) if isinstance(rerank, str) else rerank,
        "settings": [SetSetting(count, None) for count in image_counts(query_images)] if query_images else None,
        "advance": advance,
    }
    staged = [run for folder in folders for run in stage_runs(folder)]
    if staged:
        return {run: evaluate_run(open_run(run, checkpoint), **options)[1] for run in staged}
    return {folders[0]: _averaged(folders, checkpoint, options)}


def _averaged(folders: Sequence[Path], checkpoint: str, options: Mapping[str, Any]) -> list[Score]:
    runs = [run for folder in folders for run in (sorted_trials(folder) or [folder])]
    each = [evaluate_run(open_run(run, checkpoint), **options)[1] for run in runs]
    if len(each) == 1:
        return each[0]
    together = [combine(list(parts)) for parts in zip(*each, strict=True)]
    if not options["settings"]:
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


def validation_scores(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, float]:
    """Rank-1, mAP and mINP on the validation identities by the protocol's first setting or comparison."""
    if comparisons(split, recipe):
        score = score_sets(embed_compared(method, split, recipe, validation=True, first=True), split, recipe)[0]
    else:
        features = embed_features(method, split, recipe, validation=True)
        first = PROTOCOLS[split.protocol].settings[0].name
        score = score_features(features, split, recipe, settings=[first])[0]
    return dict(zip(VALIDATED, (score.rank(1), score.mAP, score.mINP), strict=True))


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
