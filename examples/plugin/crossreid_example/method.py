"""One shared encoder with a cosine classifier, after Wang et al., "NormFace", ACM MM 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.losses.weighing import LossWeights, weighted_losses
from crossreid.methods import Batch, Encoding, Method, MethodOptions, register_method
from crossreid.models.heads import Encoder


class CosineOptions(MethodOptions):
    name: Literal["cosine_baseline"] = Field("cosine_baseline", description="One encoder, a cosine classifier.")
    scale: float = Field(16.0, gt=0, description="Factor that turns cosines into logits.")
    losses: LossWeights = Field({})


@register_method("cosine_baseline", options=CosineOptions, title="Cosine baseline")
class CosineBaseline(Method):
    def __init__(self, options: CosineOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.encoder = Encoder(options.backbone)
        self.directions = nn.Parameter(0.01 * torch.randn(classes, self.encoder.width))

    @property
    def encoders(self) -> Sequence[Encoding]:
        return [self.encoder.backbone]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The term `identity`, and the losses that the recipe adds."""
        features, logits = map(self.gather, self.predict(batch.images, batch.modalities))
        labels, modalities = self.gather(batch.labels), self.gather(batch.modalities)
        terms = {"identity": F.cross_entropy(logits.float(), labels)}
        return terms | weighted_losses(self.options.losses, features, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(images)
        return features, self.options.scale * F.linear(F.normalize(features), F.normalize(self.directions))

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.encoder(images).float()
