"""Evaluate runs by their data set's protocol, and validate them during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from crossreid.data.records import Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features, load, save
from crossreid.evaluation.matlab import write_sysu_features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking_options import Reranking, make_reranking
from crossreid.evaluation.scores import Score, combine
from crossreid.evaluation.sets import SetSetting, image_counts
from crossreid.files import read_json, write_json, write_text
from crossreid.runs.folders import sorted_trials, source_views, stage_runs, weights_folder
from crossreid.runs.other_data import OtherData
from crossreid.runs.progress import unfinished
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import Run, is_official, open_run, split_trained_on
from crossreid.runs.scoring import (
    Advance,
    comparisons,
    embed_compared,
    embed_features,
    score_features,
    score_sets,
)
from crossreid.runs.source_runs import refuse_several, view_of, views_or_itself

VALIDATED = ("rank-1", "mAP", "mINP")  # what `validation_scores` returns


def evaluate(
    runs: Path | str | Sequence[Path | str],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: str | Reranking | None = None,
    query_images: str | None = None,
    data: str | None = None,
    root: Path | str | None = None,
    overrides: Sequence[str] = (),
    source: str | None = None,
    advance: Advance | None = None,
) -> list[Score]:
    """Return the scores of runs by their data set's protocol, one per setting: the results of `evaluate_each` in one
    list.

    Args:
        runs: a run; a folder of a two-stage recipe, whose teacher and students are scored one after another; a folder of
            trial-* runs, or several runs of different trials, which are averaged as RegDB's are; or several other runs,
            each scored by itself.
        metric: `euclidean` or `cosine`; the recipe's by default.
        checkpoint: `best` or `last`.
        rerank: `k-reciprocal`, `query-expansion` or one of their options objects: each setting's score is followed by the
            re-ranked one.
        query_images: comma-separated numbers of images, or `all`: use this many images of a tracklet as a query against
        videos.
        data, root: another data set to test on, or another copy of the run's own; its scores and features are written to
            RUN/evaluations/NAME, and the run's own are left unchanged.
        overrides: `data.KEY=VALUE` and `evaluation.KEY=VALUE` for the test, likewise stored separately.
        source: for runs on several data sets, the one to test on; None tests on each by itself.
        advance: called with (0, images) and then with the number of images as they are embedded.

    Raises:
        CrossreidError: there is no run, or it cannot be scored as requested.
    """
    each = evaluate_each(
        runs, metric=metric, checkpoint=checkpoint, rerank=rerank, query_images=query_images, data=data, root=root,
        overrides=overrides, source=source, advance=advance,
    )  # fmt: skip
    return [score for scores in each.values() for score in scores]


def evaluate_each(
    runs: Path | str | Sequence[Path | str],
    *,
    metric: str | None = None,
    checkpoint: str = "best",
    rerank: str | Reranking | None = None,
    query_images: str | None = None,
    data: str | None = None,
    root: Path | str | None = None,
    overrides: Sequence[str] = (),
    source: str | None = None,
    advance: Advance | None = None,
) -> dict[Path, list[Score]]:
    """As `evaluate`, by run: scores of trials together under the first one's folder, all others under their own. A run
    on several data sets is listed by the folders of its sources.

    Writes scores.json and features.npz beside each checkpoint, or for other data into a separate folder, unless
    `query_images` requests comparisons of its own.
    """
    folders = [Path(runs)] if isinstance(runs, Path | str) else [Path(run) for run in runs]
    if not folders:
        raise CrossreidError("evaluate: expected one or more runs.")
    options: dict[str, Any] = {
        "metric": metric,
        "rerank": make_reranking(rerank) if isinstance(rerank, str) else rerank,
        "settings": [SetSetting(count, None) for count in image_counts(query_images)] if query_images else None,
        "advance": advance,
    }
    on = OtherData(data, Path(root) if root is not None else None, tuple(overrides))
    opening: dict[str, Any] = {
        "checkpoint": checkpoint,
        "on": on if data is not None or root is not None or overrides else None,
    }
    staged = any(stage_runs(folder) for folder in folders)
    folders = [run for folder in folders for run in stage_runs(folder) or [folder]]
    if source is not None:
        folders = [view_of(folder, source) for folder in folders]
    if data is None:
        if root is not None and any(source_views(folder) for folder in folders):
            raise CrossreidError("--root with a run on several data sets: name one of them with --source NAME.")
        folders = [view for folder in folders for view in views_or_itself(folder)]
    if staged:
        return {run: evaluate_run(open_run(run, **opening), **options)[1] for run in folders}
    groups = {folder: sorted_trials(folder) or [folder] for folder in folders}
    found = [
        (folder, run, evaluate_run(run, **options)[1])
        for folder, members in groups.items()
        for run in (open_run(member, **opening) for member in members)
    ]
    trials = [run.split.trial for _, run, _ in found]
    if len(found) > 1 and None not in trials and len(set(trials)) == len(trials):
        groups = {folders[0]: [run.folder for _, run, _ in found]}
    return {folder: _averaged(folder, found, members, options) for folder, members in groups.items()}


def _averaged(
    folder: Path, found: Sequence[tuple[Path, Run, list[Score]]], members: Sequence[Path], options: Mapping[str, Any]
) -> list[Score]:
    """Return the scores of the trials `members` together, written into `folder`; for one run its own."""
    own = [(run, scores) for _, run, scores in found if run.folder in members]
    if len(own) == 1:
        return own[0][1]
    together = [combine(list(parts)) for parts in zip(*(scores for _, scores in own), strict=True)]
    if not options["settings"] and folder not in members:  # a run's own file holds only its own scores
        elsewhere = own[0][0].elsewhere
        into = folder if elsewhere is None else folder / "evaluations" / elsewhere.name
        write_json(into / "scores.json", [score.to_json() for score in together])
        together = [replace(score, file=str(into / "scores.json")) for score in together]
    return together


def evaluate_run(
    run: Run,
    *,
    metric: str | None = None,
    rerank: Reranking | None = None,
    settings: Sequence[SetSetting] | None = None,
    advance: Advance | None = None,
) -> tuple[Features, list[Score]]:
    """Return features and scores of one run, written to features.npz and scores.json in its folder or that of the other
    data.

    With comparisons of images and videos, the features are those of the first; the others' are stored beside it. If
    `settings` request comparisons of their own, nothing is written.
    """
    compared, scores = score_network(
        run.method, run.split, run.recipe, metric=metric, rerank=rerank, settings=settings, advance=advance
    )
    features = next(iter(compared.values()))
    said: dict[str, Any] = {
        "checkpoint": _checkpoint(run),
        "trained": unfinished(run.folder, split_trained_on(run)),
        "official": is_official(run.split),
        "file": "" if settings else str(run.results / "scores.json"),
    }
    scores = [replace(score, **said) for score in scores]
    if settings:
        return features, scores
    save_features(run.results, compared)
    write_json(run.results / "scores.json", [score.to_json() for score in scores])
    if run.elsewhere is not None:
        write_text(run.results / "recipe.yaml", run.recipe.as_yaml())
    return features, scores


def score_network(
    network: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    metric: str | None = None,
    rerank: Reranking | None = None,
    settings: Sequence[SetSetting] | None = None,
    advance: Advance | None = None,
) -> tuple[dict[str, Features], list[Score]]:
    """Return a network's features per comparison of images and videos (single images under "") and its scores; writes nothing."""
    compared: dict[str, Features] = {}
    if settings or comparisons(split, recipe):
        compared = embed_compared(network, split, recipe, settings=settings, advance=advance)
    features = {} if compared else {"": embed_features(network, split, recipe, advance=advance)}

    def scored(**options: Any) -> list[Score]:
        if compared:
            return score_sets(compared, split, recipe, metric=metric, **options)
        return score_features(features[""], split, recipe, metric=metric, **options)

    scores = scored()
    if rerank is not None:
        scores = [score for pair in zip(scores, scored(rerank=rerank), strict=True) for score in pair]
    return compared or features, scores


def save_features(folder: Path, compared: Mapping[str, Features]) -> None:
    """Write the features of `score_network` into a folder: the first to features.npz, the others beside it."""
    first = next(iter(compared))
    for name, features in compared.items():
        save(features, features_file(folder, name, first=name == first))


def features_file(folder: Path, comparison: str = "", *, first: bool = True) -> Path:
    """Return the file of a run's features: features.npz for the first comparison of images and videos, else one per comparison."""
    return folder / ("features.npz" if first else f"features-{comparison.replace(', ', '-').replace(' ', '-')}.npz")


def evaluated(run: Run, *, advance: Advance | None = None) -> tuple[Features, list[Score]]:
    """Return a run's features and scores: those in its folder if newer than its weights, else computed now."""
    scores, features = run.results / "scores.json", features_file(run.results)
    newest = max(path.stat().st_mtime for path in weights_folder(run.folder).glob("*.safetensors"))
    if all(path.is_file() and path.stat().st_mtime >= newest for path in (scores, features)):
        found = read_scores(scores)
        if all(score.checkpoint == _checkpoint(run) for score in found):
            return load(features), found
    return evaluate_run(run, advance=advance)


def _checkpoint(run: Run) -> str:
    """Return which checkpoint a run's weights come from."""
    best = (weights_folder(run.folder) / "best.safetensors").is_file()
    return run.weights.name if best and run.weights.name != "best.safetensors" else ""


def read_scores(path: Path) -> list[Score]:
    """Read the scores in a file that `evaluate` wrote. Raises `CrossreidError`, saying what to do, if it is not one."""
    try:
        return [Score.from_json(row) for row in read_json(path, list)]
    except CrossreidError as error:
        raise CrossreidError(f"{path}: {error} `crossreid evaluate` writes it again.") from error


def validation_scores(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, float]:
    """Return rank-1, mAP and mINP on the validation identities by the protocol's first setting or comparison."""
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
    """Write a run's test features as .npz or, for SYSU-MM01, in the official MATLAB layout."""
    if format not in ("npz", "sysu-mat"):
        raise CrossreidError(f"--format {format!r}: expected npz or sysu-mat.")
    run = open_run(folder, checkpoint)
    refuse_several(run.split)
    if format == "sysu-mat" and run.split.protocol != "sysu-mm01":
        raise CrossreidError(f"--format sysu-mat: the run is on {run.split.name}; this layout is for SYSU-MM01 only.")
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
