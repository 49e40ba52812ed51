"""Networks that were not trained here, scored by a data set's protocol, alone or beside a run's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crossreid.data.data_options import PIXELS
from crossreid.data.records import Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features
from crossreid.evaluation.reranking_options import Reranking, make_reranking
from crossreid.evaluation.scores import Score
from crossreid.evaluation.sets import SetSetting, image_counts
from crossreid.files import write_json
from crossreid.runs.evaluate import save_features, score_network
from crossreid.runs.named_network import NOT_TRAINED, PretrainedNetwork
from crossreid.runs.other_data import SECTIONS, in_a_name, place_of
from crossreid.runs.pretrained import named_pretrained, network_recipe
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import is_official, open_split
from crossreid.runs.scoring import Advance


def evaluate_pretrained(
    network: PretrainedNetwork,
    data: str,
    root: Path | str,
    out: Path | str | None = None,
    *,
    metric: str | None = None,
    rerank: str | Reranking | None = None,
    query_images: str | None = None,
    overrides: Sequence[str] = (),
    advance: Advance | None = None,
) -> list[Score]:
    """Return the scores of a network by a data set's protocol, one per setting.

    scores.json, features.npz and network.json (what embedded them, and from which pixels) are written into `out`, by
    default pretrained/NAME/DATA, unless `query_images` requests comparisons of its own.

    Args:
        data, root: the data set and its folder, or `manifest` and its file.
        metric, rerank, query_images, advance: as in `crossreid.evaluate`.
        overrides: `data.KEY=VALUE` and `evaluation.KEY=VALUE`.

    Raises:
        CrossreidError: the network is unknown, its weights are missing, or the data set cannot be read or scored as
            requested.
    """
    for override in overrides:
        if override.partition("=")[0].partition(".")[0].strip() not in SECTIONS:
            raise CrossreidError(f"--set {override!r}: with --backbone, expected a key of data or evaluation.")
    recipe = network_recipe(network, {"name": data, "root": str(root)}, overrides)
    split = open_split(recipe)
    made = named_pretrained(network, recipe)
    if torch.cuda.is_available():
        made = made.cuda()
    settings = [SetSetting(count, None) for count in image_counts(query_images)] if query_images else None
    compared, scores = score_network(
        made, split, recipe, metric=metric, rerank=make_reranking(rerank) if isinstance(rerank, str) else rerank,
        settings=settings, advance=advance,
    )  # fmt: skip
    folder = Path(out) if out is not None else pretrained_folder(network, recipe)
    file = "" if settings else str(folder / "scores.json")
    scores = [replace(score, trained=NOT_TRAINED, official=is_official(split), file=file) for score in scores]
    if not settings:
        _write(folder, network, recipe, split, compared, scores)
    return scores


def _write(
    folder: Path, network: PretrainedNetwork, recipe: Recipe, split: Split, compared: dict[str, Features],
    scores: Sequence[Score],
) -> None:  # fmt: skip
    save_features(folder, compared)
    write_json(folder / "scores.json", [score.to_json() for score in scores])
    sections = recipe.model_dump(
        mode="json", include={"data": {"name", "root", "options", *PIXELS}, "evaluation": True}
    )
    write_json(folder / "network.json", network.facts | {"protocol": split.protocol} | sections)


def pretrained_folder(network: PretrainedNetwork, recipe: Recipe) -> Path:
    """Return pretrained/NAME/DATA-DIGEST, different for each network, copy of the data and way of testing."""
    facts: dict[str, Any] = network.facts | recipe.model_dump(mode="json", include={"data", "evaluation"})
    return Path("pretrained") / in_a_name(network.name) / place_of(recipe.data, facts)
