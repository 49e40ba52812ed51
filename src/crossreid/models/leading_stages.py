"""The first stages of an encoder, to be kept as they are while the rest learns."""

from __future__ import annotations

from torch import nn

from crossreid.errors import CrossreidError
from crossreid.models.backbones import Backbone
from crossreid.models.stages import feature_rows
from crossreid.models.two_stream import TwoStream


def leading_stages(encoder: nn.Module, count: int) -> list[nn.Module]:
    """The modules of the first `count` stages of an encoder, stem first: each by itself, without those inside it.

    Parameters of the network itself, such as a transformer's positions, belong to its stem. What follows the last stage belongs to it.

    Raises:
        CrossreidError: the encoder names no stages, or has fewer.
    """
    if count == 0:
        return []
    if isinstance(encoder, TwoStream):
        return _of_streams(encoder, count)
    ends = [row["module"] for row in feature_rows(encoder.network)] if isinstance(encoder, Backbone) else []
    _refuse_more(count, len(ends))
    modules = list(encoder.network.named_modules())  # type: ignore[union-attr]
    if count == len(ends):
        return [module for _, module in modules]
    end = ends[count - 1]
    last = max(i for i, (path, _) in enumerate(modules) if path == end or path.startswith(f"{end}."))
    return [module for _, module in modules[: last + 1]]


def _of_streams(encoder: TwoStream, count: int) -> list[nn.Module]:
    stems, common = len(encoder.visible_stem), len(encoder.common)
    _refuse_more(count, stems + common + len(encoder.streams[0] if len(encoder.streams) else ()))  # type: ignore[arg-type]
    kept: list[nn.Module] = []
    for whole, before in (
        (encoder.visible_stem, 0),
        (encoder.infrared_stem, 0),
        (encoder.common, stems),
        *((stream, stems + common) for stream in encoder.streams),
    ):
        stages = list(whole)[: max(count - before, 0)]  # type: ignore[call-overload]
        kept += [module for stage in stages for module in stage.modules()]
    return kept


def _refuse_more(count: int, stages: int) -> None:
    if count > stages:
        found = f"has {stages} stages, its stem among them" if stages else "does not name its stages"
        raise CrossreidError(
            f"training.frozen_stages is {count}, but the encoder {found}. Set fewer, or training.frozen_epochs for whole encoders."
        )
