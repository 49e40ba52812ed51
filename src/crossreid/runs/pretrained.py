"""A network as its weights come, without training here: a backbone, with the pooling of its weights' authors.

This is the class token if timm's network of that name uses it, else the mean of the last feature map, followed by the
norm in its head, if any. Strides are those that the weights were trained with, unless a recipe says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import ClNormMlpClassifierHead, NormMlpClassifierHead
from torch import Tensor, nn

from crossreid.methods.method import Encoding, Network
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbone_registry import BACKBONES
from crossreid.models.backbones import Backbone
from crossreid.models.domain_norm import MEAN_OF_DOMAINS
from crossreid.models.lora import LoraOptions
from crossreid.models.mixstyle import MixStyleOptions
from crossreid.models.transformer_options import TransformerOptions
from crossreid.models.weights import WeightsError
from crossreid.processors import processors
from crossreid.runs.fingerprint import fingerprint_of
from crossreid.runs.named_network import PretrainedNetwork
from crossreid.runs.preprocessing import Preprocessing
from crossreid.runs.recipe import Recipe, RecipeError, make_recipe


def network_recipe(
    named: PretrainedNetwork, data: dict[str, Any] | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """Return a recipe with a named network's backbone and pixels, on the data set that `data` (keys `name`, `root`)
    names.

    Its method is a placeholder and is never built.

    Raises:
        CrossreidError: an impossible size, or an override that does not fit.
    """
    given = {
        "data": {
            "name": "manifest",
            "root": ".",
            **(data or {}),
            "height": named.height,
            "width": named.width,
            "workers": min(4, processors()),
        },
        "method": {
            "name": "baseline",
            "backbone": {"name": named.name, "weights": named.weights, "last_stride_one": False},
        },
        "evaluation": {"flip": named.flip},
    }
    source = f"backbone {named.name}"
    try:
        return make_recipe(given, overrides, source=source)
    except RecipeError as error:  # its message is about recipes
        said = str(error).replace(f"{source}: backbone ", "backbone ", 1)
        raise RecipeError(said.replace("(data.height x data.width)", "(--size)")) from error


class Pretrained(Network):
    """A backbone with its weights and nothing else: maps `(B, 3, H, W)` to pooled features `(B, width)`.

    Raises:
        WeightsError: the weights are missing or do not fit.
        CrossreidError: no such backbone.
    """

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        self.backbone = Backbone(options)
        self.token = _pools_class_token(options.name, self.backbone.network)

    @property
    def encoders(self) -> list[Encoding]:
        return [self.backbone]

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        if self.token:
            tokens: Tensor = self.backbone.network.forward_features(images)  # type: ignore[operator]
            return tokens[:, 0].float()
        pooled = self.backbone(images).mean(dim=(2, 3), keepdim=True)
        head = getattr(self.backbone.network, "head", None)
        if isinstance(head, ClNormMlpClassifierHead):
            return head.norm(pooled.flatten(1)).float()  # type: ignore[no-any-return]
        if isinstance(head, NormMlpClassifierHead):
            pooled = head.norm(pooled)
        return pooled.flatten(1).float()

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """Return its features, and empty logits: it has no training identities."""
        features = self.features(images, modalities)
        return features, features.new_zeros(len(features), 0)


def named_pretrained(named: PretrainedNetwork, recipe: Recipe) -> Pretrained:
    """Return the network of `network_recipe`.

    Raises:
        WeightsError: its weights are missing or do not fit.
        CrossreidError: no such backbone.
    """
    try:
        return pretrained_network(recipe.method.encoder)
    except WeightsError as error:  # its message is about recipes
        said = str(error).replace(
            "`method.backbone.weights=FILE`", "--weights FILE (of `crossreid watch`: --backbone-weights)"
        )
        said = said.replace(", or `none` to start from random weights", "").replace(
            "`imagenet`, `none`, or", "`imagenet`, or"
        )
        raise WeightsError(said.replace("`method.backbone.name`", "--backbone")) from error


def pretrained_network(options: BackboneOptions) -> Pretrained:
    """Return the network of these options in evaluation mode; the caller's random state is unchanged."""
    with torch.random.fork_rng(devices=[]):
        return Pretrained(options).eval()


def pretrained_fingerprint(named: PretrainedNetwork, network: Pretrained, seen: Preprocessing) -> str:
    """Return the fingerprint of a named network whose images are preprocessed as in `seen`."""
    facts = {
        "method": {"name": "pretrained", "backbone": {"name": named.name.partition(".")[0]}},
        "preprocessing": seen.to_json(),
        "flip": named.flip,
    }
    return fingerprint_of(network.state_dict(), facts)


def untouched(options: BackboneOptions) -> BackboneOptions:
    """Return the options without what a recipe adds to the backbone and the weights do not cover.

    These are modules between the stages, style mixing, side information, adapters, and norms by data set. Overlapping
    patches stay, as do strides.
    """
    return options.model_copy(
        update={
            "attention": "none",
            "non_local": (),
            "stage_attention": False,
            "transformer": TransformerOptions(patch_stride=options.transformer.patch_stride),
            "mixstyle": MixStyleOptions(),
            "lora": LoraOptions(),
            "domain_norm": "shared",
            "domains": (),
            "tested_as": MEAN_OF_DOMAINS,
        },
    )


def _pools_class_token(name: str, network: nn.Module) -> bool:
    """Return whether timm's network of that name pools its class token; ours is built without timm's pooling."""
    if name in BACKBONES or not getattr(network, "num_prefix_tokens", 0) or getattr(network, "cls_token", None) is None:
        return False
    try:
        as_released = timm.create_model(name, pretrained=False, num_classes=0)
    except Exception:  # a name known only to the hub, which cannot be reached
        return True
    return getattr(as_released, "global_pool", "token") == "token"
