"""The AGW-style baseline: a modality-specific stem, non-local blocks, GeM pooling, weighted regularised triplets.

Source: Ye et al., "Deep learning for person re-identification: a survey and outlook", TPAMI 2021, sections 4.2 and 4.3.
Published, the triplet loss compares raw features before the BN neck, and the classifier and the test feature come after
it. In setting `crossreid` the triplet loss also compares the L2-normalised features after the neck (`methods.baseline`
says why). Setting `official` is the authors' release; with `triplet: squared_difference` it is the network and the loss
of their CAJ (ICCV 2021), whose batches `data.augment.channels.joint` makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.losses.metric import weighted_triplet_loss
from crossreid.losses.released_triplets import released_weighted_triplet_loss, squared_difference_triplet_loss
from crossreid.losses.weighing import AddedLosses, LossWeights
from crossreid.methods.method import Encoding, Method, MethodOptions, register_method
from crossreid.models.backbone_options import BackboneOptions, backbone_name
from crossreid.models.heads import MetricFeatures, bn_neck, metric_features
from crossreid.models.margin_heads import HeadOptions, logits_of, make_classifier
from crossreid.models.pooling import GeneralisedMean, ReleasedGeneralisedMean
from crossreid.models.timm_shapes import timm_shape
from crossreid.models.two_stream import StageOptions, TwoStream, known_rows
from crossreid.options import PublishedSettingOptions

# The published backbone; a recipe that names another one keeps these blocks in it.
PUBLISHED: dict[str, Any] = {"backbone": {"non_local": (0, 2, 3, 0)}}
OWN: dict[str, Any] = {**PUBLISHED, "triplet_features": "neck"}
# The paper does not say how the neck is initialised.
PAPER: dict[str, Any] = {**PUBLISHED, "neck_deviation": 0.01}
OFFICIAL: dict[str, Any] = {
    "backbone": {"non_local": (0, 2, 3, 0), "non_local_width": 1},
    "pooling": "release",
    "learn_pooling": False,
    "neck_deviation": 0.01,
    "triplet": "release",
}
TRIPLETS = {
    "weighted": weighted_triplet_loss,
    "release": released_weighted_triplet_loss,
    "squared_difference": squared_difference_triplet_loss,
}


class AGWOptions(MethodOptions, PublishedSettingOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = {"crossreid": OWN, "paper": PAPER, "official": OFFICIAL}

    name: Literal["agw"] = Field(
        "agw", description="Identity + weighted triplets on a network with modality-specific stems."
    )
    backbone: BackboneOptions = Field(
        BackboneOptions(),
        description="The network; its non-local blocks are AGW's [0, 2, 3, 0] unless it says otherwise; none if the "
        "stages are not sequences of blocks, as in transformers and ConvNeXt.",
    )
    stages: StageOptions = Field(StageOptions(stems=1), description="Stages that each modality has its own copy of.")
    pooling_power: float = Field(3.0, ge=1, description="Initial p of GeM pooling.")
    learn_pooling: bool = Field(True, description="Learn p.")
    pooling: Literal["floored", "release"] = Field(
        "floored",
        description="GeM pooling: `floored` clamps each value at 1e-6; `release` has no floor, adds 1e-12 to the mean, "
        "and keeps p fixed.",
    )
    neck_deviation: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of the normal distribution around 1 that the neck's scale is initialised from.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    triplet: Literal["weighted", "release", "squared_difference"] = Field(
        "weighted",
        description="The weighted regularised triplet loss: as in its equation (`weighted`), as the release computes it, "
        "or CAJ's on squared differences.",
    )
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    triplet_features: MetricFeatures = Field(
        "pooled",
        description="What the triplet loss compares: features before the neck, as they are (`pooled`) or L2-normalised (`unit`), "
        "or L2-normalised features after the neck.",
    )
    head: HeadOptions = Field(HeadOptions(), description="The classifier behind the neck.")
    losses: LossWeights = Field({})
    losses_features: MetricFeatures = Field(
        "pooled", description="What the losses added by `losses` compare; same choices as triplet_features."
    )

    @classmethod
    def starting_values(cls, setting: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The setting's values; without non-local blocks if stages are not sequences of blocks, as in transformers."""
        start = super().starting_values(setting, given)
        if timm_shape(backbone_name(given)).sequences:
            return start
        kept = {key: value for key, value in start["backbone"].items() if not key.startswith("non_local")}
        return {**start, "backbone": kept}

    @model_validator(mode="after")
    def _fixed(self) -> AGWOptions:
        if self.pooling == "release" and self.learn_pooling:
            raise CrossreidError(
                "pooling is release, whose p is fixed, but learn_pooling is true. Set learn_pooling=false."
            )
        return self


@register_method("agw", options=AGWOptions, title="AGW", recipes="agw_*.yaml")
class AGW(Method):
    def __init__(self, options: AGWOptions, classes: int) -> None:
        super().__init__()
        if options.stages.split is not None:
            raise CrossreidError("method.stages.split: agw has one stream; leave it out.")
        self.options = options
        self.network = TwoStream(options.backbone, options.stages)
        self.pooling: nn.Module = GeneralisedMean(options.pooling_power, learn=options.learn_pooling)
        if options.pooling == "release":
            self.pooling = ReleasedGeneralisedMean(options.pooling_power)
        self.neck = bn_neck(self.network.width)
        if options.neck_deviation:
            nn.init.normal_(self.neck.weight, 1.0, options.neck_deviation)
        self.classifier = make_classifier(options.head, self.network.width, classes)
        self.added_losses = AddedLosses(options.losses, self.network.width, classes)

    @property
    def encoders(self) -> Sequence[Encoding]:
        return [self.network]

    def pool(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to the pooled feature map `(B, width)`, before the neck."""
        pooled: Tensor = self.pooling(self.network(images, modalities)[0])
        return pooled

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity` and `triplet`, and the losses that the options add."""
        with known_rows(batch.composition and batch.composition.by_modality):
            pooled = self.pool(batch.images, batch.modalities)
        normed = self.neck(pooled)
        logits = logits_of(self.classifier, normed, batch.labels)
        compared = self.gather(metric_features(self.options.triplet_features, pooled, normed))
        added = self.gather(metric_features(self.options.losses_features, pooled, normed))
        logits, labels = self.gather(logits), self.gather(batch.labels)
        terms = {
            "identity": F.cross_entropy(logits.float(), labels, label_smoothing=self.options.label_smoothing),
            "triplet": self.options.triplet_weight * TRIPLETS[self.options.triplet](compared, labels),
        }
        modalities = self.gather(batch.modalities)
        return terms | self.added_losses(added, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        features = self.neck(self.pool(images, modalities))
        return features, self.classifier(features)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.neck(self.pool(images, modalities)).float()
