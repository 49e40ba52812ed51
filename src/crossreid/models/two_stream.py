"""Networks with separate early stages per modality, or late streams: one backbone, with some of its stages duplicated.

Two ideas from visible-infrared re-ID in one network. *Stems*: each modality has its own leading stages, the rest
is shared (Ye et al., "Deep learning for person re-identification: a survey and outlook", TPAMI 2021, section 4.3).
*Streams*: after the split every image passes the remaining stages twice, once in a modality-shared and once in a
modality-specific stream (Ren and Zhang, "Implicit discriminative knowledge learning for visible-infrared person
re-identification", CVPR 2024).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.cutting import cut, through
from crossreid.models.domain_norm import rows_of
from crossreid.models.encoder_weights import keys_in_whole
from crossreid.models.mixstyle import images_of
from crossreid.models.said import Said
from crossreid.models.stages import layers_behind, refuse_more_stages
from crossreid.models.token_stages import Given, TokenStage
from crossreid.options import Options


class StageOptions(Options):
    """Which stages exist more than once; stage 0 is the stem, a ResNet has stages 0 to 4, a ViT one per block."""

    stems: int = Field(0, ge=0, description="Number of leading stages with a copy per modality; 1 is the stem only.")
    split: int | None = Field(
        None, ge=0, description="The last stage before the two streams split; null for one stream."
    )


class TwoStream(nn.Module):
    """Images `(B, 3, H, W)` and their modalities `(B,)` to one feature map `(B, width, h, w)` per stream.

    There is one stream, or with a split the shared and the specific one. All copies of a stage start with the same
    weights, pretrained or not.

    Raises:
        CrossreidError: the backbone cannot be cut, or has no such stages.
    """

    def __init__(self, backbone: BackboneOptions, options: StageOptions) -> None:
        super().__init__()
        if backbone.transformer.tokens != "mean":
            raise CrossreidError(
                f"method.backbone.transformer.tokens is {backbone.transformer.tokens}, but streams and stems give whole "
                "maps. Set it to mean, or choose a method with whole encoders, for example baseline."
            )
        whole = Backbone(backbone)
        self.width = whole.width
        runs, self.inputs = cut(whole, backbone.name)
        parts = len(runs) if options.split is None else options.split + 1
        if options.split is not None and parts >= len(runs):
            raise CrossreidError(
                f"method.stages.split is {options.split}, but backbone {backbone.name!r} has stages 0 to {len(runs) - 1}; expected "
                f"0 to {len(runs) - 2}, so that a stage follows it."
            )
        if options.stems > parts:
            raise CrossreidError(
                f"method.stages.stems is {options.stems}, but {parts} stages come before "
                f"{'the end of' if options.split is None else 'the split of'} backbone {backbone.name!r}."
            )
        stem, common, rest = runs[: options.stems], runs[options.stems : parts], runs[parts:]
        self.visible_stem, self.infrared_stem = nn.Sequential(*stem), nn.Sequential(*copy.deepcopy(stem))
        self.common = nn.Sequential(*common)
        self.streams = nn.ModuleList([nn.Sequential(*rest), nn.Sequential(*copy.deepcopy(rest))][: 2 if rest else 1])
        self.keys_in_whole = keys_in_whole(self, whole)
        behind = {f"network.{name}": count for name, count in layers_behind(whole.network).items()}
        self.layers_behind = {name: behind[key] for name, key in self.keys_in_whole.items() if key in behind}
        """The number of the network's layers after that of each parameter, by its name; equal for copies of a stage."""

    @property
    def last_stage(self) -> list[str]:
        """Paths of the modules of the last stage, of all streams."""
        ends = {f"streams.{i}": stream for i, stream in enumerate(self.streams)}
        if len(self.streams) == 1:
            ends = {"common": self.common}
        if not len(self.common) and len(self.streams) == 1:
            ends = {"visible_stem": self.visible_stem, "infrared_stem": self.infrared_stem}
        return [f"{path}.{len(end) - 1}" for path, end in ends.items()]  # type: ignore[arg-type]

    @property
    def map_layers(self) -> list[nn.Module]:
        """The ends of the streams, each of which returns a feature map."""
        return [self.get_submodule(path) for path in self.last_stage]

    @property
    def blocks(self) -> list[nn.Module]:
        """All copies of a transformer's blocks; none for other networks."""
        return [module for module in self.modules() if isinstance(module, TokenStage)]

    @property
    def prefix(self) -> int:
        """The number of a transformer's tokens that are not patches."""
        return max((block.prefix for block in self.blocks), default=0)  # type: ignore[type-var, return-value]

    def leading_stages(self, count: int) -> list[nn.Module]:
        """The modules of all copies of the first `count` stages. Raises `CrossreidError` if there are fewer."""
        stems, common = len(self.visible_stem), len(self.common)
        streams: list[nn.Sequential] = list(self.streams)  # type: ignore[arg-type]
        refuse_more_stages(count, stems + common + len(streams[0]))
        parts = [(self.visible_stem, 0), (self.infrared_stem, 0), (self.common, stems)]
        parts += [(stream, stems + common) for stream in streams]
        kept = [stage for part, before in parts for stage in list(part)[: max(count - before, 0)]]
        if self.inputs is not None and count:
            kept.append(self.inputs)
        return [module for stage in kept for module in stage.modules()]

    def forward(self, images: Tensor, modalities: Tensor, first: int = 2) -> tuple[Tensor, ...]:
        """Return the map of each of the first `first` streams; others are not computed."""
        maps = images
        given = None if self.inputs is None else self.inputs((int(images.shape[2]), int(images.shape[3])))
        if len(self.visible_stem):
            (maps,) = by_modality(images, modalities, lambda kind, own: (self._stem(kind, own, given),))
        with images_of(modalities):
            maps = through(self.common, maps, given)  # type: ignore[arg-type]
            return tuple(through(stream, maps, given) for stream in list(self.streams)[:first])  # type: ignore[arg-type]

    def _stem(self, modality: Modality, images: Tensor, given: Given | None) -> Tensor:
        stem = self.infrared_stem if modality == Modality.INFRARED else self.visible_stem
        return through(stem, images, given)  # type: ignore[arg-type]


_ONLY: Said[Modality] = Said("only")
_ROWS: Said[tuple[Tensor, Tensor]] = Said("rows of each modality")


@contextmanager
def only_of(modality: Modality | None) -> Iterator[None]:
    """Within the block, treat all rows as of this modality, whatever is given: no shape then depends on data."""
    with _ONLY.saying(modality):
        yield


@contextmanager
def known_rows(rows: tuple[Tensor, Tensor] | None) -> Iterator[None]:
    """Within the block, these are a whole batch's visible and infrared rows, so no device is read; None if unknown."""
    with _ROWS.saying(rows):
        yield


def rows_by_modality(modalities: Tensor) -> tuple[Tensor, Tensor]:
    """The visible and the infrared rows of modalities `(B,)`: the known ones, or found here."""
    known = _ROWS.get()
    if known is not None and len(known[0]) + len(known[1]) == len(modalities):
        return known
    visible, infrared = ((modalities == kind).nonzero().flatten() for kind in (Modality.VISIBLE, Modality.INFRARED))
    return visible, infrared


def by_modality(
    rows: Tensor, modalities: Tensor, through: Callable[[Modality, Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Call `through(modality, its rows)`, visible rows first, and return the outputs in the order of `rows`."""
    if (only := _ONLY.get()) is not None:
        return through(only, rows)
    passed = []
    for kind, index in zip((Modality.VISIBLE, Modality.INFRARED), rows_by_modality(modalities), strict=True):
        if len(index):
            with rows_of(index, len(rows)):
                passed.append((index, through(kind, rows.index_select(0, index))))
    places = torch.cat([index for index, _ in passed])
    order = torch.empty_like(places).scatter(0, places, torch.arange(len(places), device=places.device))
    return tuple(
        torch.cat(outputs).index_select(0, order) for outputs in zip(*(parts for _, parts in passed), strict=True)
    )
