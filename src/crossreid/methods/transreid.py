"""TransReID: a vision transformer with a global and several local features, each with an identity and a triplet loss.

Source: He et al., "TransReID: Transformer-based object re-identification", ICCV 2021. With f_g the global feature,
f_1 ... f_k the local ones (`models.jigsaw`) and a BN neck and a classifier for each,

    L = L_ID(f_g) + L_T(f_g) + 1/k sum_j (L_ID(f_j) + L_T(f_j))                                            (equation 6)
    f = [f_g, f_1, ..., f_k] at test.

L_ID is the cross-entropy after the neck, L_T the batch-hard triplet loss with a soft margin before it. The released
code halves all of it (`global_weight`, `local_weight`), and divides the local features by k at test
(`local_scale`). Side information (section 3.3) and overlapping patches are options of the backbone,
`method.backbone.transformer`. The viewpoints of vehicles are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.losses.metric import triplet_loss
from crossreid.losses.weighing import AddedLosses, LossWeights
from crossreid.methods.method import Encoding, Method, MethodOptions, register_method
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.heads import MetricFeatures, bn_neck, linear_classifier, metric_features
from crossreid.models.jigsaw import JigsawBackbone
from crossreid.models.transformer_options import TransformerOptions

PUBLISHED = BackboneOptions(
    name="vit_base_patch16_224.augreg_in21k_ft_in1k",
    last_stride_one=False,
    transformer=TransformerOptions(tokens="class"),
)


class TransReIDOptions(MethodOptions):
    name: Literal["transreid"] = Field("transreid", description="Global and local features of a vision transformer.")
    backbone: BackboneOptions = Field(PUBLISHED, description="The vision transformer.")
    parts: int = Field(4, ge=0, description="k, the number of local features; 0 for the global one only.")
    shift: int = Field(5, ge=0, description="m, the number of leading patches moved to the end before the shuffle.")
    shuffle_groups: int = Field(
        2, ge=1, description="Number of groups for the shuffle, 2 as released; 1 for no shuffle."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    margin: float | None = Field(None, gt=0, description="Margin of the triplet loss; null for the soft margin.")
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    global_weight: float = Field(1.0, ge=0, description="Weight of the global feature's losses; 0.5 as released.")
    local_weight: float = Field(
        1.0, ge=0, description="Weight of the mean of the local features' losses; 0.5 as released."
    )
    triplet_features: MetricFeatures = Field(
        "pooled",
        description="What the triplet loss compares: features before the neck, as they are (`pooled`) or L2-normalised "
        "(`unit`), or L2-normalised features after the neck.",
    )
    test_features: Literal["pooled", "neck"] = Field(
        "pooled",
        description="What is concatenated and compared at test: features before the necks, or after them.",
    )
    local_scale: float | None = Field(
        None, gt=0, description="Factor of the local features at test; null for 1 / parts, as released."
    )
    losses: LossWeights = Field({})

    @model_validator(mode="before")
    @classmethod
    def _without_last_stride(cls, given: Any) -> Any:
        """A transformer has no last stride, so a recipe need not remove it."""
        backbone = given.get("backbone") if isinstance(given, dict) else None
        return {**given, "backbone": {"last_stride_one": False, **backbone}} if isinstance(backbone, dict) else given


@register_method("transreid", options=TransReIDOptions, title="TransReID", recipes="transreid_*.yaml")
class TransReID(Method):
    takes_side_information: ClassVar[bool] = True

    def __init__(self, options: TransReIDOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.network = JigsawBackbone(
            options.backbone, shift=options.shift, shuffle_groups=options.shuffle_groups, parts=options.parts
        )
        width, branches = self.network.width, options.parts + 1
        self.necks = nn.ModuleList(bn_neck(width) for _ in range(branches))
        self.classifiers = nn.ModuleList(linear_classifier(width, classes) for _ in range(branches))
        self.added_losses = AddedLosses(options.losses, width, classes)

    @property
    def encoders(self) -> Sequence[Encoding]:
        return [self.network]

    @property
    def map_layers(self) -> list[nn.Module]:
        """The patches before the last block: those after it do not contribute to the class token."""
        return [self.network.patch_map]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity`, `triplet`, for local features `local_identity`, `local_triplet`, and the added losses.

        The added losses use the global feature before its neck.
        """
        options = self.options
        pooled = self.network(batch.images, batch.modalities, batch.cameras)
        labels = self.gather(batch.labels)
        identity, triplet = [], []
        for features, neck, classifier in zip(pooled, self.necks, self.classifiers, strict=True):
            normed = neck(features)
            logits = self.gather(classifier(normed))
            compared = self.gather(metric_features(options.triplet_features, features, normed))
            identity.append(F.cross_entropy(logits.float(), labels, label_smoothing=options.label_smoothing))
            triplet.append(options.triplet_weight * triplet_loss(compared, labels, margin=options.margin))
        terms = {"identity": options.global_weight * identity[0], "triplet": options.global_weight * triplet[0]}
        if options.parts:
            terms |= {
                "local_identity": options.local_weight * torch.stack(identity[1:]).mean(),
                "local_triplet": options.local_weight * torch.stack(triplet[1:]).mean(),
            }
        whole, modalities = self.gather(pooled[0]), self.gather(batch.modalities)
        return terms | self.added_losses(whole, labels, modalities, taken=terms)

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """The test features and the logits of the global one."""
        pooled = self.network(images, modalities)
        normed = [neck(features) for features, neck in zip(pooled, self.necks, strict=True)]
        return self._concatenated(pooled, normed), self.classifiers[0](normed[0])

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.features_by_camera(images, modalities, None)

    def features_by_camera(self, images: Tensor, modalities: Tensor, cameras: Tensor | None) -> Tensor:
        pooled = self.network(images, modalities, cameras)
        normed = [neck(features) for features, neck in zip(pooled, self.necks, strict=True)]
        return self._concatenated(pooled, normed)

    def _concatenated(self, pooled: Sequence[Tensor], normed: Sequence[Tensor]) -> Tensor:
        whole, *local = pooled if self.options.test_features == "pooled" else normed
        scale = self.options.local_scale or 1 / max(self.options.parts, 1)
        return torch.cat([whole.float(), *(scale * part.float() for part in local)], dim=1)
