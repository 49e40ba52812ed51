"""Backbones: a timm network or a registered one as an encoder, images in, a feature map out."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any

import timm
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.alterations import (
    put_attention_before_stages,
    put_bam_after_stages,
    put_non_local_after_blocks,
    stride_one,
    take_last_activation,
)
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbone_registry import BACKBONES, OURS
from crossreid.models.backbone_registry import register_backbone as register_backbone
from crossreid.models.hub import offline_unless_it_answers, weights_of
from crossreid.models.input_size import takes_input_size
from crossreid.models.lora import add_adapters
from crossreid.models.mixstyle import put_mixstyle_after_stages
from crossreid.models.patches import overlap_patches
from crossreid.models.pooling import GeneralisedMean
from crossreid.models.side_information import SideInformation
from crossreid.models.stages import build_for, feature_rows, last_stage_paths, leading_modules
from crossreid.models.timm_building import build_headless
from crossreid.models.timm_names import TimmModel, find_timm_model, is_of_hub
from crossreid.models.tokens import as_map
from crossreid.models.vision_transformer import refuse_other_than_transformers, tokens_of
from crossreid.models.weights import WeightsError, load_local_weights


class Backbone(nn.Module):
    """A network without its head: `(B, 3, H, W)` to a feature map `(B, width, h, w)`.

    A transformer's tokens are returned as a map of its patches, without its class and register tokens, or as
    `options.transformer.tokens` says.

    Raises:
        CrossreidError: there is no such backbone, or one of `options` cannot be applied to it.
        WeightsError: its weights are missing or do not fit.
    """

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        self.network = create_network(options)
        self.width = int(self.network.num_features)  # type: ignore[arg-type]
        if options.last_stride_one:
            stride_one(self.network, options.name)
        if not options.last_activation:
            take_last_activation(self.network, options.name, whole_block=options.bare_last_block)
        if options.attention != "none":
            put_bam_after_stages(self.network, options.name, product=options.attention == "bam_product")
        if any(options.non_local):
            put_non_local_after_blocks(self.network, options.name, options.non_local, width=options.non_local_width)
        if options.stage_attention:
            put_attention_before_stages(self.network, options.name)
        if options.mixstyle.stages:
            put_mixstyle_after_stages(self.network, options.name, options.mixstyle)
        self.side_information, self.pooling = _altered_tokens(self.network, options)
        self.class_token = options.transformer.tokens == "class"
        if options.lora.rank:
            add_adapters(self.network, options.name, options.lora)
        paths = last_stage_paths(self.network, options.name) if feature_rows(self.network) else []
        self.last_stage = [f"network.{path}" for path in paths]

    def forward(self, images: Tensor, modalities: Tensor | None = None, cameras: Tensor | None = None) -> Tensor:
        """The map of images `(B, 3, H, W)`; modalities and cameras `(B,)` are for side information, None if unknown."""
        if self.side_information is None:
            features: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        else:
            features = tokens_of(self.network, images, self.side_information(modalities, cameras))
        if self.class_token and features.ndim == 3:
            return features[:, 0, :, None, None]
        maps = as_map(features, self.network, (int(images.shape[2]), int(images.shape[3])))
        return maps if self.pooling is None else self.pooling(maps)[:, :, None, None]

    def leading_stages(self, count: int) -> list[nn.Module]:
        """The modules of the first `count` stages, each by itself. Raises `CrossreidError` if there are fewer."""
        return leading_modules(self.network, count)


def _altered_tokens(
    network: nn.Module, options: BackboneOptions
) -> tuple[SideInformation | None, GeneralisedMean | None]:
    """Change patches in place as the transformer options say; return the side-information and pooling modules."""
    given = options.transformer
    if given.patch_stride is not None:
        overlap_patches(network, options.name, given.patch_stride)
    if given.tokens == "class" and getattr(network, "cls_token", None) is None:
        raise CrossreidError(
            f"method.backbone.transformer.tokens is class, but backbone {options.name!r} has no class token. Set it to mean or gem."
        )
    side = None
    if given.side_information != "none":
        refuse_other_than_transformers(network, options.name, "method.backbone.transformer.side_information")
        side = SideInformation(given, int(network.num_features))  # type: ignore[arg-type]
    return side, GeneralisedMean(given.gem_power, learn=given.learn_gem) if given.tokens == "gem" else None


def create_network(options: BackboneOptions) -> nn.Module:
    """Return the network that `options` name, without its classifier, with the requested weights."""
    network = _registered(options) if options.name in BACKBONES else _of_timm(options)
    if options.input_size is not None:
        build_for(network, options.input_size)
    if options.weights not in ("imagenet", "none"):
        load_local_weights(network, Path(options.weights), options.name)
    return network


def _registered(options: BackboneOptions) -> nn.Module:
    if options.transformer.drop_path:
        raise CrossreidError(
            f"method.backbone.transformer.drop_path is for timm's networks; backbone {options.name!r} is a registered "
            "one, which has to drop paths itself. Set it to 0."
        )
    factory = BACKBONES[options.name].owner
    given: dict[str, Any] = {}
    if "pretrained" in inspect.signature(factory).parameters:
        given["pretrained"] = options.weights == "imagenet"
    elif options.weights == "imagenet":
        raise WeightsError(
            f"backbone {options.name!r} has no weights of its own. Give a local file with `method.backbone.weights=FILE`, or "
            "`none` to start from random weights."
        )
    if takes_input_size(factory) and options.input_size is not None:
        given["input_size"] = options.input_size
    network = factory(**given)
    lacking = [name for name in ("forward_features", "num_features") if not hasattr(network, name)]
    if lacking:
        raise CrossreidError(
            f"backbone {options.name!r} lacks {' and '.join(lacking)}. Expected what `register_backbone` describes."
        )
    return network


def _of_timm(options: BackboneOptions) -> nn.Module:
    model = find_timm_model(options.name)
    if model is None:
        near = difflib.get_close_matches(options.name, [*BACKBONES, *timm.list_models()], n=3)
        plugins = [name for name, entry in BACKBONES.items() if entry.owner.__module__ not in OURS]
        registered = f" ({', '.join(plugins)})" if plugins else ""
        raise CrossreidError(
            f"backbone {options.name!r} is neither a timm model nor registered{registered}. "
            + (f"Similar names: {', '.join(near)}." if near else "See timm.list_models() for timm's names.")
        )
    if options.weights == "imagenet":
        return _pretrained(options, model)
    try:
        return _headless(model, options)
    except Exception as error:
        raise CrossreidError(f"backbone {options.name!r} cannot be built by timm ({_reason(error)}).") from error


def _pretrained(options: BackboneOptions, model: TimmModel) -> nn.Module:
    with offline_unless_it_answers() as answers:
        try:
            if not model.repository:
                return _headless(model, options, pretrained=True)
            file = weights_of(model.repository)
        except Exception as error:
            missing = not answers and isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled)
            reason = "they are not in its cache, and the hub cannot be reached" if missing else _reason(error)
            kind = "weights" if is_of_hub(options.name) else "ImageNet weights"
            raise WeightsError(
                f"{kind} of {options.name!r} could not be fetched by timm ({reason}). "
                "Expected internet access or a filled cache. "
                "Give a local file with `method.backbone.weights=FILE`, or `none` to start from random weights."
            ) from error
    network = _headless(model, options)
    load_local_weights(network, file, options.name)
    return network


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _headless(model: TimmModel, options: BackboneOptions, *, pretrained: bool = False) -> nn.Module:
    drop_path = options.transformer.drop_path
    arguments = {**model.arguments, "drop_path_rate": drop_path} if drop_path else model.arguments
    return build_headless(model.architecture, arguments, size=options.input_size, pretrained=pretrained)
