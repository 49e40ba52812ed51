"""What training must beat: the pretrained backbone without training here, the untrained network, and raw pixels."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from crossreid.data.records import Split
from crossreid.evaluation.embedding import Pixels, pixels
from crossreid.evaluation.features import Features, features_of
from crossreid.evaluation.scores import Score
from crossreid.methods import without_download
from crossreid.models.weights import WeightsError
from crossreid.runs.named_network import NOT_TRAINED_TITLE
from crossreid.runs.pretrained import Pretrained, pretrained_network, untouched
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import fresh_method
from crossreid.runs.scoring import comparisons, embed_compared, embed_features, roles, score_features, score_sets
from crossreid.runs.starting import with_start_weights


def floors(
    split: Split, recipe: Recipe, *, say: Callable[[str], object] = lambda text: None
) -> dict[str, tuple[Features, list[Score]]]:
    """Return features and scores of the recipe's backbone with its pretrained weights, if it has any, and no training
    here; of the same network with random weights; and of raw pixels.

    `say` gets a line if the weights are no longer available and the first one is left out.
    """
    networks: dict[str, nn.Module] = {}
    if (own := pretrained_of(recipe, say)) is not None:
        networks[NOT_TRAINED_TITLE] = own
    networks["Untrained network"] = untrained_of(recipe, split)
    if comparisons(split, recipe):
        small = recipe.model_copy(update={"data": recipe.data.model_copy(update={"height": 32, "width": 16})})
        scored = {}
        networks["Raw pixels"] = Pixels()
        for name, each in networks.items():
            compared = embed_compared(each, split, small if isinstance(each, Pixels) else recipe)
            scored[name] = next(iter(compared.values())), score_sets(compared, split, recipe)
        return scored
    found = {name: embed_features(network, split, recipe) for name, network in networks.items()}
    found["Raw pixels"] = features_of(*roles(split), pixels(split.test))
    return {name: (features, score_features(features, split, recipe)) for name, features in found.items()}


def pretrained_of(recipe: Recipe, say: Callable[[str], object] = lambda text: None) -> Pretrained | None:
    """Return the recipe's backbone with its pretrained weights; None if it has none, or they are no longer available.

    These are the weights of `method.backbone.weights`, or of `start_from` if that is a file of backbone weights. A run
    in `start_from` was trained here and does not count.
    """
    encoder = untouched(with_start_weights(recipe).method.encoder)
    if encoder.weights == "none":
        return None
    try:
        return pretrained_network(encoder)
    except WeightsError as error:
        say(f"{NOT_TRAINED_TITLE}: left out. {error}")
        return None


def untrained_of(recipe: Recipe, split: Split) -> nn.Module:
    """Return the recipe's network with random weights, even if training starts from others; reproducible by the seed."""
    return fresh_method(recipe.model_copy(update={"method": without_download(recipe.method)}), split).eval()
