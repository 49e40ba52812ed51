"""Rows of a study's table without training: each backbone of its recipes with its initial weights.

The figures are the same for every seed, because nothing is random. If others have v and z, the pooled feature map is v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking_options import KReciprocal
from crossreid.evaluation.scores import Score
from crossreid.files import read_json, short_digest, write_json
from crossreid.runs.floors import pretrained_of
from crossreid.runs.named_network import NOT_TRAINED
from crossreid.runs.pretrained import Pretrained, untouched
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import open_split
from crossreid.runs.scoring import comparisons, embed_compared, embed_features, score_features, score_sets
from crossreid.studies.study import PLAIN, RERANKED, Cell
from crossreid.studies.summary import figures_of

KEY = "pretrained"


def pretrained_rows(
    tests: Sequence[tuple[Cell, Recipe]],
    table: dict[str, Any],
    out: Path,
    say: Callable[[str], object] = lambda text: None,
) -> list[dict[str, Any]]:
    """Return one row per backbone with weights and data to score it on, like `summary`'s for cells; scores are stored
    in `out`.

    If cells are scored on their own data sets, the row is in the group of its data set.

    Args:
        tests: the cells, each with a recipe whose data are those that the cell is scored on.
        say: gets a line if weights are no longer available and their row is left out.
    """
    seeds = sorted({seed for row in table["rows"] for seed in row["seeds"]})
    rows: list[dict[str, Any]] = []
    spaces = {space for row in table["rows"] for space in row["figures"]}
    for digest, (cell, recipe) in {_digest(recipe): (cell, recipe) for cell, recipe in reversed(tests)}.items():
        if recipe.method.encoder.weights == "none" or not seeds:
            continue
        kept = out / f"{KEY}-{digest}.json"
        if not kept.is_file():
            network = pretrained_of(recipe, say)
            if network is None:
                continue
            scores = _scores(network, recipe)
            write_json(kept, {name: score.to_json() for name, score in scores.items()})
        found = {name: Score.from_json(given) for name, given in read_json(kept).items()}
        if "v" in spaces:
            found["v"] = found[PLAIN]
        name = recipe.method.encoder.name
        score = next(iter(found.values()))
        own: dict[str, Any] = {} if cell.tested is None else {
            "title": f"{name}, {NOT_TRAINED}", "group": cell.group, "tested": cell.tested, "reference": cell.reference,
            "protocol": score.protocol, "setting": score.setting, "chance": score.chance_rank1,
        }  # fmt: skip
        rows.append(
            {
                "key": f"{KEY}-{digest}",
                "title": name,
                "group": NOT_TRAINED,
                "method": KEY,
                "place": None,
                "published": None,
                "seeds": seeds,
                "seconds": [0.0] * len(seeds),
                "validation": [None] * len(seeds),
                "figures": {
                    space: figures_of([score] * len(seeds)) for space, score in found.items() if space in spaces
                },
            }
            | own
        )
    return rows[::-1]


def _digest(recipe: Recipe) -> str:
    """Return a digest of what a row depends on: the backbone, the data and how they are tested."""
    facts: dict[str, Any] = {
        "backbone": untouched(recipe.method.encoder).model_dump(mode="json"),
        "data": recipe.data.model_dump(
            mode="json",
            include={"name", "root", "options", "height", "width", "interpolation", "normalise", "levels"},
        ),
        "evaluation": recipe.evaluation.model_dump(mode="json"),
    }
    return short_digest(facts)


def _scores(network: Pretrained, recipe: Recipe) -> dict[str, Score]:
    """Return the scores, as for runs: of comparisons of images and videos, or of single images with and without
    re-ranking.
    """
    split = open_split(recipe)
    if comparisons(split, recipe):
        return {score.setting: score for score in score_sets(embed_compared(network, split, recipe), split, recipe)}
    setting = [PROTOCOLS[split.protocol].settings[0].name]
    features = embed_features(network, split, recipe)
    return {
        PLAIN: score_features(features, split, recipe, settings=setting)[0],
        RERANKED: score_features(features, split, recipe, settings=setting, rerank=KReciprocal())[0],
    }
