"""The baseline: one encoder that both modalities share, identity cross-entropy and a batch-hard triplet loss.

It follows Luo et al., "Bag of tricks and a strong baseline for deep person re-identification" (CVPRW 2019): the
classifier and the test feature follow a BN neck. Their triplet loss compares raw features before the neck. While the
hardest positive is farther than the nearest negative, as across modalities, shrinking all features lowers that loss;
so here it compares the test feature, L2-normalised after the neck (`triplet_features`). Centre loss is left out.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.losses.metric import triplet_loss
from crossreid.losses.weighing import AddedLosses, LossWeights
from crossreid.methods.method import Method, MethodOptions, register_method
from crossreid.models.backbones import Backbone
from crossreid.models.heads import Encoder, MetricFeatures, metric_features
from crossreid.models.margin_heads import HeadOptions, logits_of, make_classifier


class BaselineOptions(MethodOptions):
    name: Literal["baseline"] = Field("baseline", description="Identity + triplet, one shared encoder.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    margin: float | None = Field(0.3, gt=0, description="Margin of the triplet loss; null for the soft margin.")
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    triplet_features: MetricFeatures = Field(
        "neck",
        description="What the triplet loss compares: features before the neck, as they are (`pooled`) or L2-normalised (`unit`), "
        "or L2-normalised features after the neck.",
    )
    head: HeadOptions = Field(HeadOptions(), description="The classifier behind the neck.")
    losses: LossWeights = Field({})
    losses_features: MetricFeatures = Field(
        "pooled", description="What the losses added by `losses` compare; same choices as triplet_features."
    )


@register_method("baseline", options=BaselineOptions, title="Identity + triplet", recipes="baseline_*.yaml")
class Baseline(Method):
    takes_side_information: ClassVar[bool] = True

    def __init__(self, options: BaselineOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.encoder = Encoder(options.backbone)
        self.classifier = make_classifier(options.head, self.encoder.width, classes)
        self.added_losses = AddedLosses(options.losses, self.encoder.width, classes)

    @property
    def encoders(self) -> list[Backbone]:
        return [self.encoder.backbone]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity` and `triplet`, and the losses that the options add."""
        pooled = self.encoder.pool(batch.images, batch.modalities, batch.cameras)
        normed = self.encoder.neck(pooled)
        logits = logits_of(self.classifier, normed, batch.labels)
        compared = self.gather(metric_features(self.options.triplet_features, pooled, normed))
        added = self.gather(metric_features(self.options.losses_features, pooled, normed))
        logits, labels = self.gather(logits), self.gather(batch.labels)
        terms = {
            "identity": F.cross_entropy(logits.float(), labels, label_smoothing=self.options.label_smoothing),
            "triplet": self.options.triplet_weight * triplet_loss(compared, labels, margin=self.options.margin),
        }
        modalities = self.gather(batch.modalities)
        return terms | self.added_losses(added, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(images, modalities)
        return features, self.classifier(features)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.features_by_camera(images, modalities, None)

    def features_by_camera(self, images: Tensor, modalities: Tensor, cameras: Tensor | None) -> Tensor:
        return self.encoder(images, modalities, cameras).float()
