"""Names of timm's models: plain, with a tag (`resnet50.tv_in1k`), or of a repository on the hub (`hf-hub:OWNER/NAME`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import timm
from timm.models import PretrainedCfg


@dataclass(frozen=True, slots=True)
class TimmModel:
    """What a name stands for.

    Attributes:
        architecture: timm's name of the network, with the tag of its weights where the name has one.
        arguments: what the network is built with beside timm's defaults.
        described: what is known of its weights: input size, mean, deviation, interpolation; None where nothing is.
    """

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    described: PretrainedCfg | None = None


def find_timm_model(name: str) -> TimmModel | None:
    """The timm model of that name; None where there is none."""
    if not timm.is_model(name):
        return None
    try:
        described = timm.get_pretrained_cfg(name)
    except (RuntimeError, KeyError):  # of a tag that there is not
        described = None
    return TimmModel(name, {}, described)
