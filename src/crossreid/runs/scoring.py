"""From a network and a split to features and scores, as a recipe says: for single images, or sets of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from crossreid.data.records import Modality, Record, Split, in_order
from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import load_permutations
from crossreid.evaluation.embedding import embed, observe
from crossreid.evaluation.features import Features, features_of
from crossreid.evaluation.procedure import evaluate as evaluate_protocol
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking_options import Reranking
from crossreid.evaluation.scores import Score
from crossreid.evaluation.sets import SetSetting, set_features, settings_of
from crossreid.models.heads import concatenate_normalised
from crossreid.runs.recipe import Recipe
from crossreid.runs.source_runs import refuse_several

Advance = Callable[..., object]


def embed_features(
    method: nn.Module, split: Split, recipe: Recipe, *, validation: bool = False, advance: Advance | None = None
) -> Features:
    """Return features by `method` of the test images of `split`, or of its validation images (infrared ones are queries)."""
    query, gallery = roles(split, validation=validation)
    records = in_order({*query, *gallery})
    if advance is not None:
        advance(0, len(records))
    return features_of(query, gallery, embed(method, records, advance=advance, **reading(recipe)))


def comparisons(split: Split, recipe: Recipe) -> list[SetSetting]:
    """Return the comparisons of images and videos that a recipe is scored by; none if single images are compared.

    Raises:
        CrossreidError: videos are requested, but the data set's protocol compares single images.
    """
    refuse_several(split)
    plan = PROTOCOLS[split.protocol]
    kinds = recipe.evaluation.sets or plan.sets
    if kinds == ("i2i",) and not plan.first_frame:
        return []
    if plan.draw is not None or len(plan.settings) > 1 or plan.settings[0].query is not None:
        raise CrossreidError(
            f"evaluation.sets is {', '.join(kinds)}, but {split.protocol} compares single images. Leave it empty."
        )
    return settings_of(kinds)


def embed_compared(
    method: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    settings: Sequence[SetSetting] | None = None,
    validation: bool = False,
    first: bool = False,
    first_frame: bool | None = None,
    advance: Advance | None = None,
) -> dict[str, Features]:
    """Return features of each comparison of images and videos, by name; only of the first one, if `first`.

    `first_frame`: whether the image of a tracklet is only its first frame; None follows the protocol.
    """
    query, gallery = roles(split, validation=validation)
    chosen = comparisons(split, recipe) if settings is None else settings
    plan = PROTOCOLS[split.protocol]
    return set_features(
        method,
        query,
        gallery,
        chosen[:1] if first else chosen,
        frames=recipe.evaluation.frames,
        first_frame=plan.first_frame if first_frame is None else first_frame,
        place=recipe.evaluation.frame,
        # Each validation image is a query and in the gallery: it is queried once per tracklet, not once per image.
        pictures_query=plan.pictures_query and not validation,
        skip=recipe.data.on_bad_image == "skip",
        advance=advance,
        **reading(recipe),
    )


def score_sets(compared: Mapping[str, Features], split: Split, recipe: Recipe, **options: Any) -> list[Score]:
    """Return the score of each comparison, with its name as the setting; `options` as in `score_features`."""
    return [
        replace(score, setting=name)
        for name, features in compared.items()
        for score in score_features(features, split, recipe, **options)
    ]


def reading(recipe: Recipe) -> dict[str, Any]:
    """Return how `embed` and `observe` read test images for a recipe."""
    return {
        "height": recipe.data.height,
        "width": recipe.data.width,
        "interpolation": recipe.data.resizing,
        "normalisation": recipe.data.normalisation,
        "options": recipe.evaluation,
        "workers": min(recipe.data.loaders, 8),
        "cache": recipe.data.cached_for_testing,
    }


def space_features(method: nn.Module, split: Split, recipe: Recipe) -> dict[str, Features]:
    """Return test features of v, of z and of both, each over all streams: what `test_features` chooses from."""
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
    """Return v and z of the test images, not normalised, for each stream of a three-branch method."""
    query, gallery = roles(split)
    streams = observe(method, in_order({*query, *gallery}), tested=tested, **reading(recipe))
    return {name: (features_of(query, gallery, v), features_of(query, gallery, z)) for name, (v, z) in streams.items()}


def roles(split: Split, *, validation: bool = False) -> tuple[list[Record], list[Record]]:
    """Return the query and gallery images of a split's test half or of its validation identities.

    In validation, infrared images query visible ones; with one modality, each image queries all others.
    """
    refuse_several(split)
    if not validation:
        return list(split.query), list(split.gallery)
    infrared = [record for record in split.validation if record.modality == Modality.INFRARED]
    visible = [record for record in split.validation if record.modality == Modality.VISIBLE]
    return (infrared, visible) if infrared and visible else (list(split.validation), list(split.validation))


def score_features(
    features: Features,
    split: Split,
    recipe: Recipe,
    *,
    metric: str | None = None,
    settings: Sequence[str] | None = None,
    rerank: Reranking | None = None,
) -> list[Score]:
    """Return the scores of features by the data set's protocol, one per setting (or of the named `settings`)."""
    return evaluate_protocol(
        features,
        split.protocol,
        metric=metric or recipe.evaluation.metric,
        trials=recipe.evaluation.trials,
        trial=split.trial,
        settings=settings,
        rerank=rerank,
        **gallery_draw(split, recipe),
    )


def gallery_draw(split: Split, recipe: Recipe) -> dict[str, Any]:
    """Return how a run's gallery is drawn, if its protocol draws it: `draw`, `permutations` and `seed`, as in `evaluate`."""
    options = recipe.evaluation
    draw = None if options.draw == "official" else options.draw
    listed = split.root / "exp" / "rand_perm_cam.mat"
    official = split.protocol == "sysu-mm01" and draw is None and listed.is_file()
    return {"draw": draw, "permutations": load_permutations(listed) if official else None, "seed": options.seed}
