"""Backbones: a timm network or a registered one as an encoder, images in, a feature map out."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
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
from crossreid.models.hub import offline_unless_it_answers, weights_of
from crossreid.models.input_size import (
    FOR_ANY_SIZE,
    FOR_ONE_SIZE,
    Size,
    is_built_for_a_size,
    size_to_build_for,
    takes_input_size,
)
from crossreid.models.lora import LoraOptions, add_adapters
from crossreid.models.mixstyle import MixStyleOptions, put_mixstyle_after_stages
from crossreid.models.patches import overlap_patches
from crossreid.models.pixels_of_files import said_of_pixels
from crossreid.models.pooling import GeneralisedMean
from crossreid.models.side_information import SideInformation
from crossreid.models.stages import build_for, feature_rows, last_stage_paths, leading_modules
from crossreid.models.timm_names import TimmModel, find_timm_model, is_of_hub
from crossreid.models.timm_shapes import timm_shape
from crossreid.models.tokens import as_map
from crossreid.models.transformer_options import TransformerOptions
from crossreid.models.vision_transformer import refuse_other_than_transformers, tokens_of
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


OURS = ("crossreid.models.ibn", "crossreid.models.osnet", "crossreid.models.torchvision_backbones")
BACKBONES: Registry[RegisteredBackbone] = Registry("backbone", "crossreid.backbones", OURS)


def register_backbone(
    name: str,
    *,
    mean: Triple = IMAGENET.mean,
    std: Triple = IMAGENET.std,
    interpolation: Interpolation = "bilinear",
) -> Callable[[F], F]:
    """Register the function below as the backbone that recipes call `name`; it comes before a timm model of that name.

    It is called without arguments, or with those of these that it has as parameters: `pretrained` (bool: weights are `imagenet`),
    `input_size` ((height, width) of the images, where a recipe says it; give it a default). It returns an `nn.Module` without a
    classifier that has

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
        "resnet50",
        description="Name of a timm model (a tag, or `hf-hub:OWNER/NAME`, says which weights), of torchvision's, or of a registered "
        "backbone.",
    )
    weights: str = Field(
        "imagenet",
        description="`imagenet` (those of the name, from the internet), `none`, or a local .safetensors / .pth file of any project.",
    )
    last_stride_one: bool = Field(
        True,
        description="Keep the last stage at the resolution of the one before it; false unless given for timm networks, most "
        "transformers among them, whose last stage has no stride to take out.",
    )
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
    mixstyle: MixStyleOptions = Field(MixStyleOptions(), description="Mixing of styles between images, in training.")
    input_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="[height, width] that a transformer is built for, filled in from `data`; null: of other networks, and of "
        "runs before this key, whose positions are resampled at each step.",
    )
    transformer: TransformerOptions = Field(
        TransformerOptions(), description="Drop path, patches, tokens, side information."
    )
    lora: LoraOptions = Field(LoraOptions(), description="Low-rank adaptation of a frozen network.")
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
    def _stride_where_there_is_one(self) -> BackboneOptions:
        if "last_stride_one" not in self.model_fields_set and self.name not in BACKBONES:
            object.__setattr__(self, "last_stride_one", timm_shape(self.name).strides)
        return self

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


def at_size(options: BackboneOptions, size: Size) -> BackboneOptions:
    """The options of a network for images `(height, width)`: built for that size, where its construction depends on it.

    Options that say `input_size: null` themselves are returned as they are.

    Raises:
        CrossreidError: the network cannot be built for that size, or `options` name another one.
    """
    registered = options.name in BACKBONES
    depends = takes_input_size(BACKBONES[options.name].owner) if registered else is_built_for_a_size(options.name)
    if options.input_size is None and (not depends or "input_size" in options.model_fields_set):
        return options
    if not depends or options.input_size not in (None, size):
        found = list(options.input_size or ())
        reason = f"images are of {size[0]} x {size[1]} pixels" if depends else f"{options.name} is built for no size"
        raise CrossreidError(
            f"method.backbone.input_size is {found}, but {reason}. Leave it out: it follows data.height and data.width."
        )
    built_for = size if registered else size_to_build_for(options.name, size)
    return options if built_for is None else options.model_copy(update={"input_size": built_for})


def backbone_name(method: Mapping[str, Any]) -> str:
    """The backbone that the `method` section of a recipe names, before it is validated; the default's name where it names none."""
    given = method.get("backbone")
    name = given.get("name") if isinstance(given, Mapping) else getattr(given, "name", None)
    return name if isinstance(name, str) else str(BackboneOptions.model_fields["name"].default)


def pixels_of(options: BackboneOptions) -> Pixels:
    """How images are to be resized and normalised for the weights that `options` name; ImageNet's way for random ones.

    A local file says it where it is a checkpoint of this program, lies beside a `config.json` as timm writes it, or holds the two
    as fast-reid's do. Else the description of the timm model by whose name weights are loaded says it. The crop in that
    description is of photographs that show more than one thing; a detected person, vehicle or animal is resized whole.
    """
    if options.weights == "none":
        return Pixels()
    if options.weights != "imagenet" and (said := said_of_pixels(Path(options.weights))):
        return Pixels(said.normalisation, _known(said.interpolation))
    if options.name in BACKBONES:
        return BACKBONES[options.name].pixels
    model = find_timm_model(options.name)
    described = None if model is None else model.described
    if described is None or len(described.mean) != 3:
        return Pixels()
    (r, g, b), (r_std, g_std, b_std) = described.mean, described.std
    return Pixels(Normalisation((r, g, b), (r_std, g_std, b_std)), _known(described.interpolation))


def _known(interpolation: str | None) -> Interpolation:
    kinds: tuple[Interpolation, ...] = get_args(Interpolation)
    return next((kind for kind in kinds if kind == interpolation), kinds[0])


class Backbone(nn.Module):
    """A network without its head: `(B, 3, H, W)` to a feature map `(B, width, h, w)`.

    A transformer's tokens come as a map of its patches, without its class and register tokens, or as
    `options.transformer.tokens` says.

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
        if options.mixstyle.stages:
            put_mixstyle_after_stages(self.network, options.name, options.mixstyle)
        self.side_information, self.pooling = _altered_tokens(self.network, options)
        self.class_token = options.transformer.tokens == "class"
        if options.lora.rank:
            add_adapters(self.network, options.name, options.lora)
        paths = last_stage_paths(self.network, options.name) if feature_rows(self.network) else []
        self.last_stage = [f"network.{path}" for path in paths]

    def forward(self, images: Tensor, modalities: Tensor | None = None, cameras: Tensor | None = None) -> Tensor:
        """The map of images `(B, 3, H, W)`; modalities and cameras `(B,)` are for side information, None where unknown."""
        if self.side_information is None:
            features: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        else:
            features = tokens_of(self.network, images, self.side_information(modalities, cameras))
        if self.class_token and features.ndim == 3:
            return features[:, 0, :, None, None]
        maps = as_map(features, self.network, (int(images.shape[2]), int(images.shape[3])))
        return maps if self.pooling is None else self.pooling(maps)[:, :, None, None]

    def leading_stages(self, count: int) -> list[nn.Module]:
        """The modules of the first `count` stages, each by itself. Raises `CrossreidError` where there are fewer."""
        return leading_modules(self.network, count)


def _altered_tokens(
    network: nn.Module, options: BackboneOptions
) -> tuple[SideInformation | None, GeneralisedMean | None]:
    """Patches changed in place as the options of transformers say; the module of side information, and that of pooling."""
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
    """The network that `options` name, without its classifier, with the weights asked for."""
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
            f"backbone {options.name!r} brings no weights of its own. Give a local file with `method.backbone.weights=FILE`, or "
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
            f"backbone {options.name!r} is no timm model, and none that is registered{registered}. "
            + (f"Near it: {', '.join(near)}." if near else "See timm.list_models() for timm's names.")
        )
    if options.weights == "imagenet":
        return _pretrained(options, model)
    try:
        return _headless(model.architecture, options, pretrained=False, **model.arguments)
    except Exception as error:
        raise CrossreidError(f"backbone {options.name!r} cannot be built by timm ({_reason(error)}).") from error


def _pretrained(options: BackboneOptions, model: TimmModel) -> nn.Module:
    with offline_unless_it_answers() as answers:
        try:
            if not model.repository:
                return _headless(model.architecture, options, pretrained=True)
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
    network = _headless(model.architecture, options, pretrained=False, **model.arguments)
    load_local_weights(network, file, options.name)
    return network


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _headless(name: str, options: BackboneOptions, *, pretrained: bool, **arguments: Any) -> nn.Module:
    size, drop_path = options.input_size, options.transformer.drop_path
    given = arguments if size is None else {**arguments, "img_size": size}
    if drop_path:
        given = {**given, "drop_path_rate": drop_path}
    *tries, last = FOR_ANY_SIZE if size is None else FOR_ONE_SIZE
    for extra in tries:
        try:
            network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **{**given, **extra})
        except (TypeError, AssertionError):
            continue
        return network
    return timm.create_model(name, pretrained=pretrained, num_classes=0, **{**given, **last})
