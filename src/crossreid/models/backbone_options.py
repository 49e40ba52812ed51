"""Options of a backbone: its name, weights and changes, the size it is built for, and the pixels its weights want."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from crossreid.data.normalisation import Normalisation
from crossreid.data.transforms import Interpolation
from crossreid.errors import CrossreidError
from crossreid.models.backbone_registry import BACKBONES, Pixels
from crossreid.models.domain_norm import MEAN_OF_DOMAINS, DomainNormKind
from crossreid.models.input_size import Size, is_built_for_a_size, size_to_build_for, takes_input_size
from crossreid.models.lora import LoraOptions
from crossreid.models.mixstyle import MixStyleOptions
from crossreid.models.pixels_of_files import said_of_pixels
from crossreid.models.timm_names import find_timm_model
from crossreid.models.timm_shapes import timm_shape
from crossreid.models.transformer_options import TransformerOptions
from crossreid.options import Options


class BackboneOptions(Options):
    name: str = Field(
        "resnet50",
        description="Name of a timm model (with a tag, or `hf-hub:OWNER/NAME`, to select weights), a torchvision model or "
        "a registered backbone.",
    )
    weights: str = Field(
        "imagenet",
        description="`imagenet` (the weights for the name, downloaded), `none`, or a local .safetensors or "
        ".pth file from any project.",
    )
    last_stride_one: bool = Field(
        True,
        description="Keep the last stage at the resolution of the one before it. Networks whose last stage has no "
        "stride to remove, such as OSNets and most transformers, default to false if a recipe does not set "
        "this key.",
    )
    last_activation: bool = Field(
        True, description="Keep the activation at the end of the network, which produces the feature map."
    )
    bare_last_block: bool = Field(
        False,
        description="Without the last activation: remove the other activations of its block too, as VKD's release "
        "does.",
    )
    attention: Literal["none", "bam", "bam_product"] = Field(
        "none",
        description="`bam`: a bottleneck attention module after each of stages 1 to 3; `bam_product`: the same in the "
        "form of VKD's release.",
    )
    non_local: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Number of last blocks of each stage that are followed by a non-local block, by stage up to the last; "
        "AGW has [0, 2, 3, 0].",
    )
    non_local_width: int | None = Field(
        None, ge=1, description="Channels inside a non-local block; null for half of those outside."
    )
    stage_attention: bool = Field(
        False, description="Channel attention by affinity, with a learned gain, before stages 2, 3 and 4."
    )
    mixstyle: MixStyleOptions = Field(
        MixStyleOptions(), description="MixStyle: mixing of styles between images in training."
    )
    input_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="[height, width] that a transformer is built for, filled in from `data`; null for other networks "
        "and for runs from before this key, whose positions are resampled at each step.",
    )
    transformer: TransformerOptions = Field(
        TransformerOptions(), description="Drop path, patches, tokens, side information."
    )
    lora: LoraOptions = Field(LoraOptions(), description="Low-rank adaptation of a frozen network.")
    domain_norm: DomainNormKind = Field(
        "shared",
        description="With several data sets: batch norm has statistics per data set (`statistics`), also an affine map per "
        "data set (`all`), or is shared.",
    )
    domains: tuple[str, ...] = Field((), description="With domain_norm: names of the sources, filled in by the recipe.")
    tested_as: str = Field(
        MEAN_OF_DOMAINS,
        description="With domain_norm: the source whose statistics are used for test images, or the mean of all.",
    )

    @model_serializer(mode="wrap")
    def _as_kept(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Networks without norms per domain are stored as before."""
        kept: dict[str, Any] = written(self)
        if self.domain_norm == "shared":
            for key in ("domain_norm", "domains", "tested_as"):
                kept.pop(key, None)
        return kept

    @model_validator(mode="after")
    def _stride_where_there_is_one(self) -> BackboneOptions:
        if "last_stride_one" not in self.model_fields_set:
            registered = self.name in BACKBONES
            strides = BACKBONES[self.name].last_stride if registered else timm_shape(self.name).strides
            object.__setattr__(self, "last_stride_one", strides)
        return self

    @model_validator(mode="after")
    def _domains_fit(self) -> BackboneOptions:
        if self.domain_norm == "shared" and (self.domains or self.tested_as != MEAN_OF_DOMAINS):
            raise CrossreidError("domains and tested_as are for domain_norm `statistics` or `all`, but it is shared")
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
    """Return the options for images `(height, width)`: built for that size if the network's construction depends on it.

    Options that set `input_size: null` themselves are returned as they are.

    Raises:
        CrossreidError: the network cannot be built for that size, or `options` name a different one.
    """
    registered = options.name in BACKBONES
    depends = takes_input_size(BACKBONES[options.name].owner) if registered else is_built_for_a_size(options.name)
    if options.input_size is None and (not depends or "input_size" in options.model_fields_set):
        return options
    if not depends or options.input_size not in (None, size):
        found = list(options.input_size or ())
        reason = (
            f"images are of {size[0]} x {size[1]} pixels"
            if depends
            else f"{options.name} is not built for a fixed size"
        )
        raise CrossreidError(
            f"method.backbone.input_size is {found}, but {reason}. Leave it out: it follows data.height and data.width."
        )
    built_for = size if registered else size_to_build_for(options.name, size)
    return options if built_for is None else options.model_copy(update={"input_size": built_for})


def backbone_name(method: Mapping[str, Any]) -> str:
    """The backbone named in a recipe's `method` section before validation; the default one if none is named."""
    given = method.get("backbone")
    name = given.get("name") if isinstance(given, Mapping) else getattr(given, "name", None)
    return name if isinstance(name, str) else str(BackboneOptions.model_fields["name"].default)


def pixels_of(options: BackboneOptions) -> Pixels:
    """How to resize and normalise images for the weights that `options` name; as for ImageNet if they are random.

    A local file states it if it is a checkpoint of this program, lies beside a `config.json` as written by timm, or
    contains both values as fast-reid's files do. Otherwise it comes from the description of the timm model whose
    weights are loaded. The crop in that description is for photographs that show more than one thing; a detected
    person, vehicle or animal is resized whole.
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
