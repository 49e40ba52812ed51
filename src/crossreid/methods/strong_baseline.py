"""A strong cross-modal baseline: one encoder, a BN neck, identity and weighted triplets after it.

This project's own, put together from parts that were measured to help cross-modal retrieval from pretrained weights, and nothing
else (docs/methods/strong_baseline.md has what each part contributes):

* one encoder for both modalities, average pooling and the BN neck (Luo et al., CVPRW 2019), so that inference costs one pass;
* identity cross-entropy, and AGW's weighted regularised triplets (Ye et al., TPAMI 2021, equations 12 and 13), which have no margin
  to choose; they compare the test feature, L2-normalised after the neck.

The rest is in the recipe: channel exchange (`data.augment.channels`), other light (`data.augment.distortions`), the learning
rate, and the mirror image at test.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.losses.metric import weighted_triplet_loss
from crossreid.losses.weighing import AddedLosses, LossWeights
from crossreid.methods.method import Method, MethodOptions, register_method
from crossreid.models.backbones import Backbone
from crossreid.models.heads import Encoder
from crossreid.models.margin_heads import HeadOptions, logits_of, make_classifier


class StrongBaselineOptions(MethodOptions):
    name: Literal["strong_baseline"] = Field(
        "strong_baseline", description="Identity + weighted triplets after the BN neck of one encoder."
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    head: HeadOptions = Field(HeadOptions(), description="The classifier behind the neck.")
    losses: LossWeights = Field({})


@register_method(
    "strong_baseline", options=StrongBaselineOptions, title="Strong cross-modal baseline", recipes="best_*.yaml"
)
class StrongBaseline(Method):
    def __init__(self, options: StrongBaselineOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.encoder = Encoder(options.backbone)
        self.classifier = make_classifier(options.head, self.encoder.width, classes)
        self.added_losses = AddedLosses(options.losses, self.encoder.width, classes)

    @property
    def encoders(self) -> list[Backbone]:
        return [self.encoder.backbone]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity` and `triplet`, and the added losses, on the L2-normalised feature after the neck."""
        normed = self.encoder(batch.images, batch.modalities)
        logits = self.gather(logits_of(self.classifier, normed, batch.labels))
        compared = self.gather(F.normalize(normed.float(), dim=1))
        labels, modalities = self.gather(batch.labels), self.gather(batch.modalities)
        terms = {
            "identity": F.cross_entropy(logits.float(), labels, label_smoothing=self.options.label_smoothing),
            "triplet": self.options.triplet_weight * weighted_triplet_loss(compared, labels),
        }
        return terms | self.added_losses(compared, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(images, modalities)
        return features, self.classifier(features)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.encoder(images, modalities).float()
