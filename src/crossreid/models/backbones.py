"""Backbones: a timm network or a registered one as an encoder, images in, a feature map out."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

import timm
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn

from crossreid.data.normalisation import IMAGENET, Normalisation, Triple
from crossreid.data.transforms import Interpolation
from crossreid.errors import CrossreidError
from crossreid.models.alterations import (
    put_attention_before_stages,
    put_bam_after_stages,
    put_non_local_after_blocks,
    stride_one,
    take_last_activation,
)
from crossreid.models.domain_norm import MEAN_OF_DOMAINS, DomainNormKind
from crossreid.models.hub import offline_unless_it_answers
from crossreid.models.stages import feature_rows, last_stage_paths, leading_modules
from crossreid.models.weights import WeightsError, load_local_weights
from crossreid.options import Options
from crossreid.registry import Registry

Factory = Callable[..., nn.Module]
F = TypeVar("F", bound=Factory)


class Pixels(NamedTuple):
    """How the images were resized and normalised that a backbone's weights were trained with."""

    normalisation: Normalisation = IMAGENET
    interpolation: Interpolation = "bilinear"


@dataclass(frozen=True, slots=True)
class RegisteredBackbone:
    """A backbone as `BACKBONES` holds it: what makes it, and the pixels that its weights want."""

    owner: Factory
    pixels: Pixels


BACKBONES: Registry[RegisteredBackbone] = Registry("backbone", "crossreid.backbones")


def register_backbone(
    name: str,
    *,
    mean: Triple = IMAGENET.mean,
    std: Triple = IMAGENET.std,
    interpolation: Interpolation = "bilinear",
) -> Callable[[F], F]:
    """Register the function below as the backbone that recipes call `name`; it comes before a timm model of that name.

    It is called without arguments, or with `pretrained` (bool: weights are `imagenet`) if it has that parameter, and returns an
    `nn.Module` without a classifier that has

    * `forward_features(images)`: `(B, 3, H, W)` to maps `(B, num_features, h, w)`, or tokens `(B, tokens, num_features)`;
    * `num_features`: int;
    * `feature_info`, if its stages can be told apart (last stride, attention, two streams): a list of one
      `{"module": PATH, "num_chs": int}` a stage, stem first, PATH of the module that the stage ends with.

    Args:
        mean, std: of red, green and blue, from 0 to 1, by which the images were normalised that its weights were trained with;
            images are fed to it so, unless a recipe says otherwise.
        interpolation: how those images were resized.

    Raises:
        PluginError: one of another module has the name.
    """

    def register(factory: F) -> F:
        BACKBONES.add(name, RegisteredBackbone(factory, Pixels(Normalisation(mean, std), interpolation)))
        return factory

    return register


class BackboneOptions(Options):
    name: str = Field(
        "resnet50", description="Name of a timm model that names its stages, or of a registered backbone."
    )
    weights: str = Field(
        "imagenet",
        description="`imagenet` (by timm's name, from the internet), `none`, or a local .safetensors / .pth file.",
    )
    last_stride_one: bool = Field(True, description="Keep the last stage at the resolution of the one before it.")
    last_activation: bool = Field(True, description="Keep the activation that the feature map comes out of.")
    bare_last_block: bool = Field(
        False,
        description="Without the last activation: without any other of the block that it lies in either, as VKD's release.",
    )
    attention: Literal["none", "bam", "bam_product"] = Field(
        "none",
        description="`bam`: a bottleneck attention module after each of stages 1 to 3; `bam_product`: as VKD's release has it.",
    )
    non_local: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="How many blocks of each of the last stages a non-local block follows; AGW's is [0, 2, 3, 0]."
    )
    non_local_width: int | None = Field(
        None, ge=1, description="Channels inside a non-local block; null for half of those outside."
    )
    stage_attention: bool = Field(
        False, description="Channel attention by affinity, with a learned gain, before each of stages 2 to 4."
    )
    domain_norm: DomainNormKind = Field(
        "shared",
        description="Of several data sets: batch norm with statistics of each (`statistics`), with its affine map too (`all`), or of "
        "all together.",
    )
    domains: tuple[str, ...] = Field((), description="With domain_norm: the sources by name; the recipe fills it in.")
    tested_as: str = Field(
        MEAN_OF_DOMAINS,
        description="With domain_norm: the source whose statistics test images get, or the mean of all.",
    )

    @model_serializer(mode="wrap")
    def _as_kept(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Networks without norms by domain are kept as ever."""
        kept: dict[str, Any] = written(self)
        if self.domain_norm == "shared":
            for key in ("domain_norm", "domains", "tested_as"):
                kept.pop(key, None)
        return kept

    @model_validator(mode="after")
    def _domains_fit(self) -> BackboneOptions:
        if self.domain_norm == "shared" and (self.domains or self.tested_as != MEAN_OF_DOMAINS):
            raise CrossreidError("domains and tested_as are of domain_norm `statistics` or `all`, but it is shared")
        if self.domains and self.tested_as not in (MEAN_OF_DOMAINS, *self.domains):
            raise CrossreidError(
                f"tested_as is {self.tested_as!r}, expected {MEAN_OF_DOMAINS} or one of {', '.join(self.domains)}"
            )
        return self

    @model_validator(mode="after")
    def _bare(self) -> BackboneOptions:
        if self.bare_last_block and self.last_activation:
            raise CrossreidError(
                "bare_last_block takes the last activation too, but last_activation is true. Set last_activation=false, or "
                "bare_last_block=false."
            )
        return self


def pixels_of(options: BackboneOptions) -> Pixels:
    """How images are to be resized and normalised for the weights that `options` name; ImageNet's way for random ones.

    A timm model's description says it, of a local file that of the model by whose name it is loaded. The crop in that
    description is of photographs that show more than one thing; a detected person, vehicle or animal is resized whole.
    """
    if options.weights == "none":
        return Pixels()
    if options.name in BACKBONES:
        return BACKBONES[options.name].pixels
    described = timm.get_pretrained_cfg(options.name) if timm.is_model(options.name) else None
    if described is None or len(described.mean) != 3:
        return Pixels()
    kinds: tuple[Interpolation, ...] = get_args(Interpolation)
    resized = next((kind for kind in kinds if kind == described.interpolation), kinds[0])
    (r, g, b), (r_std, g_std, b_std) = described.mean, described.std
    return Pixels(Normalisation((r, g, b), (r_std, g_std, b_std)), resized)


class Backbone(nn.Module):
    """A network without its head: `(B, 3, H, W)` to a feature map `(B, width, h, w)`.

    A transformer's tokens come as a map `(B, width, tokens, 1)`, without its class and register tokens.

    Raises:
        CrossreidError: no such backbone, or one that an option of `options` cannot be applied to.
        WeightsError: its weights are not there or do not fit.
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
        paths = last_stage_paths(self.network, options.name) if feature_rows(self.network) else []
        self.last_stage = [f"network.{path}" for path in paths]

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        if maps.ndim == 3:
            tokens = maps[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
            return tokens.transpose(1, 2).unsqueeze(-1)
        if maps.shape[1] != self.width and maps.shape[-1] == self.width:
            return maps.permute(0, 3, 1, 2)
        return maps

    def leading_stages(self, count: int) -> list[nn.Module]:
        """The modules of the first `count` stages, each by itself. Raises `CrossreidError` where there are fewer."""
        return leading_modules(self.network, count)


def create_network(options: BackboneOptions) -> nn.Module:
    """The network that `options` name, without its classifier, with the weights asked for."""
    network = _registered(options) if options.name in BACKBONES else _of_timm(options)
    if options.weights not in ("imagenet", "none"):
        load_local_weights(network, Path(options.weights), options.name)
    return network


def _registered(options: BackboneOptions) -> nn.Module:
    factory = BACKBONES[options.name].owner
    given: dict[str, Any] = {}
    if "pretrained" in inspect.signature(factory).parameters:
        given["pretrained"] = options.weights == "imagenet"
    elif options.weights == "imagenet":
        raise WeightsError(
            f"backbone {options.name!r} brings no weights of its own. Give a local file with `method.backbone.weights=FILE`, or "
            "`none` to start from random weights."
        )
    network = factory(**given)
    lacking = [name for name in ("forward_features", "num_features") if not hasattr(network, name)]
    if lacking:
        raise CrossreidError(
            f"backbone {options.name!r} lacks {' and '.join(lacking)}. Expected what `register_backbone` describes."
        )
    return network


def _of_timm(options: BackboneOptions) -> nn.Module:
    if not timm.is_model(options.name):
        near = difflib.get_close_matches(options.name, [*BACKBONES, *timm.list_models()], n=3)
        registered = f" ({', '.join(BACKBONES)})" if BACKBONES else ""
        raise CrossreidError(
            f"backbone {options.name!r} is no timm model, and none that is registered{registered}. "
            + (f"Near it: {', '.join(near)}." if near else "See timm.list_models() for timm's names.")
        )
    if options.weights == "imagenet":
        return _pretrained(options.name)
    try:
        return _headless(options.name, pretrained=False)
    except Exception as error:
        raise CrossreidError(f"backbone {options.name!r} cannot be built by timm ({_reason(error)}).") from error


def _pretrained(name: str) -> nn.Module:
    with offline_unless_it_answers() as answers:
        try:
            return _headless(name, pretrained=True)
        except Exception as error:
            missing = not answers and isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled)
            reason = "they are not in its cache, and the hub cannot be reached" if missing else _reason(error)
            raise WeightsError(
                f"ImageNet weights of {name!r} could not be fetched by timm ({reason}). "
                "Expected internet access or a filled cache. "
                "Give a local file with `method.backbone.weights=FILE`, or `none` to start from random weights."
            ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _headless(name: str, *, pretrained: bool) -> nn.Module:
    # Transformers take any image size only when asked to, and other networks refuse to be asked.
    for extra in ({"global_pool": "", "dynamic_img_size": True}, {"global_pool": ""}):
        try:
            network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **extra)
        except (TypeError, AssertionError):
            continue
        return network
    return timm.create_model(name, pretrained=pretrained, num_classes=0)
