"""Classifiers of cosines with a margin between the identities: ArcFace, CosFace, sub-centre ArcFace.

Sources: Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019; Wang et al.,
"CosFace: large margin cosine loss for deep face recognition", CVPR 2018; Deng et al., "Sub-center ArcFace", ECCV 2020.

They are implemented here although pytorch-metric-learning has them. The library's agree in float32, as tests verify,
but they convert their weights to half precision for good once given such features, return a loss instead of the logits
that label smoothing and students need, select the target cosines by a mask, for which the device waits, and have a
non-finite gradient if a feature lies exactly on its centre.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.errors import CrossreidError
from crossreid.models.heads import linear_classifier
from crossreid.options import Options

PUBLISHED_MARGINS = {"arcface": 0.5, "cosface": 0.35, "subcentre": 0.5}


class HeadOptions(Options):
    name: Literal["linear", "arcface", "cosface", "subcentre"] = Field(
        "linear", description="The classifier: linear, or cosines with a margin."
    )
    scale: float = Field(
        30.0, gt=0, description="Factor of the cosines; the published 64 is for faces with thousands of identities."
    )
    margin: float | None = Field(
        None,
        ge=0,
        lt=math.pi,
        description="Margin: an angle in radians for `arcface` and `subcentre`, a cosine for `cosface`; null for the "
        "published one.",
    )
    centres: int = Field(3, ge=1, description="For `subcentre`: centres per identity, of which the nearest counts.")

    @model_validator(mode="after")
    def _used(self) -> HeadOptions:
        given = self.model_fields_set - {"name"}
        unused = sorted(given if self.name == "linear" else given & {"centres"} if self.name != "subcentre" else ())
        changed = [key for key in unused if getattr(self, key) != type(self).model_fields[key].default]
        if changed:
            raise CrossreidError(
                f"{', '.join(changed)}: the head {self.name} has none. Leave it out, or choose another head."
            )
        return self


def make_classifier(options: HeadOptions, width: int, classes: int) -> nn.Module:
    """Return the classifier that `options` name: `(B, width)` to logits `(B, classes)`; its key is `weight`."""
    return linear_classifier(width, classes) if options.name == "linear" else MarginHead(options, width, classes)


def logits_of(classifier: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    """Return training logits `(B, C)`: the classifier's, with its margin at the `labels` `(B,)` if it has one."""
    if isinstance(classifier, MarginHead):
        return classifier(features, labels)
    return classifier(features)


class MarginHead(nn.Module):
    """Features `(B, width)` to scaled cosines with each identity's weight, `(B, classes)`; with labels, minus a margin.

    With several centres per identity, the nearest counts. Everything is computed in float32, even under autocast.
    """

    def __init__(self, options: HeadOptions, width: int, classes: int) -> None:
        super().__init__()
        self.scale = options.scale
        self.angular = options.name != "cosface"
        self.margin = PUBLISHED_MARGINS[options.name] if options.margin is None else options.margin
        shape = (classes, options.centres, width) if options.name == "subcentre" else (classes, width)
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.weight, std=0.01)  # only directions matter; as released

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            cosines = self._cosines(features)
            if labels is not None:
                own = cosines.gather(1, labels[:, None])
                less = with_angular_margin(own, self.margin) if self.angular else own - self.margin
                cosines = cosines.scatter(1, labels[:, None], less)
            return self.scale * cosines

    def _cosines(self, features: Tensor) -> Tensor:
        units = F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=1)
        weight = F.normalize(self.weight.to(units.dtype), dim=-1)
        if weight.ndim == 2:
            return units @ weight.T
        return (units @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2]).amax(2)


def with_angular_margin(cosines: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) of cosines cos(theta), and cos(theta) - margin sin(margin) where theta + margin exceeds pi.

    The second keeps it decreasing in theta, as in the authors' release. Unlike that of the inverse cosine, the gradient
    is finite everywhere.
    """
    sines = (1 - cosines.square()).clamp_min(1e-12).sqrt()
    moved = cosines * math.cos(margin) - sines * math.sin(margin)
    return torch.where(cosines >= -math.cos(margin), moved, cosines - margin * math.sin(margin))
