"""The AGW-style baseline: a modality-specific stem, non-local blocks, GeM pooling, weighted regularised triplets.

Source: Ye et al., "Deep learning for person re-identification: a survey and outlook", TPAMI 2021, sections 4.2 and 4.3.
The triplet loss acts before the BN neck, the classifier and the test feature after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.losses.metric import weighted_triplet_loss
from crossreid.losses.weighing import LossWeights, weighted_losses
from crossreid.methods.method import Encoding, Method, MethodOptions, register_method
from crossreid.models.backbones import BackboneOptions
from crossreid.models.heads import bn_neck, linear_classifier
from crossreid.models.pooling import GeneralisedMean
from crossreid.models.two_stream import StageOptions, TwoStream
from crossreid.options import PublishedSettingOptions

# All three are the published one; a recipe that names another backbone keeps these blocks in it.
PUBLISHED: dict[str, Any] = {"backbone": {"non_local": (0, 2, 3, 0)}}


class AGWOptions(MethodOptions, PublishedSettingOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = dict.fromkeys(("crossreid", "paper", "official"), PUBLISHED)

    name: Literal["agw"] = Field(
        "agw", description="Identity + weighted triplets on a network with modality-specific stems."
    )
    backbone: BackboneOptions = Field(
        BackboneOptions(),
        description="The network; its non-local blocks are AGW's [0, 2, 3, 0] unless it says otherwise.",
    )
    stages: StageOptions = Field(StageOptions(stems=1), description="Which stages each modality has for itself.")
    pooling_power: float = Field(3.0, ge=1, description="p of GeM pooling at the start.")
    learn_pooling: bool = Field(True, description="Let p learn.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the weighted regularised triplet loss.")
    losses: LossWeights = Field({})


@register_method("agw", options=AGWOptions, title="AGW", recipes="agw_*.yaml")
class AGW(Method):
    def __init__(self, options: AGWOptions, classes: int) -> None:
        super().__init__()
        if options.stages.split is not None:
            raise CrossreidError("method.stages.split: agw has one stream; leave it out.")
        self.options = options
        self.network = TwoStream(options.backbone, options.stages)
        self.pooling = GeneralisedMean(options.pooling_power, learn=options.learn_pooling)
        self.neck = bn_neck(self.network.width)
        self.classifier = linear_classifier(self.network.width, classes)

    @property
    def encoders(self) -> Sequence[Encoding]:
        return [self.network]

    def pool(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to the pooled feature map `(B, width)`, before the neck."""
        pooled: Tensor = self.pooling(self.network(images, modalities)[0])
        return pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity` and `triplet`, and the losses that the options add, of the features before the neck."""
        pooled = self.pool(batch.images, batch.modalities)
        logits = self.classifier(self.neck(pooled))
        pooled, logits, labels = self.gather(pooled), self.gather(logits), self.gather(batch.labels)
        terms = {
            "identity": F.cross_entropy(logits.float(), labels, label_smoothing=self.options.label_smoothing),
            "triplet": self.options.triplet_weight * weighted_triplet_loss(pooled, labels),
        }
        modalities = self.gather(batch.modalities)
        return terms | weighted_losses(self.options.losses, pooled, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        features = self.neck(self.pool(images, modalities))
        return features, self.classifier(features)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.neck(self.pool(images, modalities)).float()
