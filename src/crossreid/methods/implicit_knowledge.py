"""Implicit discriminative knowledge learning (IDKL): Ren and Zhang, CVPR 2024.

Of two streams, the shared one is made to forget the modality (L_C, after a gradient reversal); the specific one keeps
it (L_D), and with it what only one modality shows of an identity. The purifier removes the style from that (L_e, L_r),
and graphs and predictions transfer it to the shared stream, which is tested. The objective minimised is

    L_ReID(f_sh) + L_C + L_ReID(f_sp) + L_D + l1 (L_e + L_r + L_ReID(f~)) + l2 L_TGSA + l3 L_CSA + L_MDR.

f~ takes f_sp's place in L_TGSA and L_CSA if there is a purifier. `paper` follows this to the letter. `crossreid` stops
the gradient into the side that is learnt from, has masks that depend on the image (`Purifier`), and builds graphs and
triplets from L2-normalised features: the softmax of raw distances depends on feature length, and shrinking all features
lowers either loss. It reverses a tenth of the confuser's gradient, which in a pretrained backbone is otherwise an order
of magnitude larger than that of the identity loss. Its triplets are AGW's weighted ones, which have no margin to
choose.

`official` minimises what the authors' release does (`losses.released_knowledge`): f~ takes f_sp's place in everything
but L_e, which has its own classifier; the confuser learns pseudo-labels; all divergences are symmetric; graphs have no
diagonal, one pair of them makes TGSA, and MDR has mixed ones; slots are an additional term. Left out: weights that
change with the batch size, which no configuration uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.composition import Composition
from crossreid.errors import CrossreidError
from crossreid.losses.alignment import (
    centre_reduction,
    class_alignment,
    entropy_reduction,
    graph_alignment,
    pseudo_modalities,
)
from crossreid.losses.metric import triplet_loss, weighted_triplet_loss
from crossreid.losses.released_knowledge import (
    mixed_graph_alignment,
    released_centre_reduction,
    released_entropy_reduction,
    released_graph_alignment,
    released_pseudo_modalities,
    slot_alignment,
)
from crossreid.losses.weighing import AddedLosses, LossWeights
from crossreid.methods.implicit_knowledge_settings import SETTINGS
from crossreid.methods.method import Encoding, Method, MethodOptions, register_method
from crossreid.models.backbone_options import BackboneOptions, backbone_name
from crossreid.models.heads import (
    MetricFeatures,
    bn_neck,
    concatenate_normalised,
    linear_classifier,
    metric_features,
    modality_classifier,
)
from crossreid.models.pooling import GeneralisedMean, generalised_mean
from crossreid.models.purifier import Purified, Purifier
from crossreid.models.reversal import Schedule, reversal_strength, reverse_gradient
from crossreid.models.timm_shapes import timm_shape
from crossreid.models.two_stream import StageOptions, TwoStream, known_rows
from crossreid.options import PublishedSettingOptions


class ImplicitKnowledgeOptions(MethodOptions, PublishedSettingOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = SETTINGS

    name: Literal["implicit_knowledge"] = Field(
        "implicit_knowledge", description="IDKL: a shared stream learns from a purified specific one."
    )
    objective: Literal["equations", "release"] = Field(
        "equations",
        description="Minimise the paper's equations, as set by the other keys, or the release's objective.",
    )
    backbone: BackboneOptions = Field(BackboneOptions(), description="The network that is cut into two streams.")
    stages: StageOptions = Field(
        StageOptions(split=2),
        description="Where the streams split; by default after half of the blocks of a transformer.",
    )
    pooling_power: float = Field(3.0, ge=1, description="Initial p of GeM pooling.")
    learn_pooling: bool = Field(True, description="Learn p.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    triplet: Literal["hard", "weighted"] = Field(
        "hard", description="Triplets of the hardest pairs, or AGW's weighted ones, which have no margin (`weighted`)."
    )
    margin: float | None = Field(
        0.3, gt=0, description="Margin of the triplet loss of the hardest pairs; null for the soft margin."
    )
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    triplet_features: MetricFeatures = Field(
        "pooled",
        description="What the triplet loss compares: features before the neck, as they are (`pooled`) or L2-normalised "
        "(`unit`), or L2-normalised features after the neck.",
    )
    classifier_start: Literal["small", "torch"] = Field(
        "small",
        description="Initialise identity classifiers near zero, so that predictions are uniform (`small`), or as PyTorch "
        "does.",
    )
    confuser: Literal["reversal", "pseudo_labels", "none"] = Field(
        "reversal", description="How the shared stream forgets the modality; `pseudo_labels`: as in the release."
    )
    reversal: float = Field(1.0, ge=0, description="Largest strength of the gradient reversal.")
    reversal_schedule: Schedule = Field("sigmoid", description="How that strength grows over training.")
    discriminator_weight: float = Field(1.0, ge=0, description="Weight of L_D and of L_C.")
    purifier: bool = Field(True, description="Purify the specific stream.")
    masks: Literal["pooled", "spatial"] = Field(
        "spatial", description="The purifier's masks: one per image (`pooled`) or one per position (`spatial`)."
    )
    purifier_weight: float = Field(0.1, ge=0, description="lambda_1, the weight of the purifier's losses.")
    relation_weight: float = Field(0.6, ge=0, description="lambda_2, the weight of L_TGSA.")
    class_weight: float = Field(0.8, ge=0, description="lambda_3, the weight of L_CSA.")
    discrepancy_weight: float = Field(1.0, ge=0, description="Weight of L_MDR.")
    discrepancy_graphs: bool = Field(True, description="Compare graphs in L_MDR too; the release does not on RegDB.")
    slots_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the release's slots across modalities; within a modality it is multiplied by "
        "class_weight.",
    )
    symmetric: bool = Field(False, description="Take divergences in both directions, as the release does.")
    graphs: Literal["pooled", "unit"] = Field(
        "pooled", description="Build graphs from pooled features as they are, or L2-normalised."
    )
    diagonal: bool = Field(True, description="Keep each sample's distance to itself in its graph.")
    stop_gradient: bool = Field(True, description="Stop the gradient into the side that is learnt from.")
    test_features: Literal["shared", "both"] = Field(
        "shared",
        description="What `embed` returns: the feature of the shared stream, or those of both streams concatenated.",
    )
    losses: LossWeights = Field({})

    @classmethod
    def starting_values(cls, setting: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The setting's values; a transformer's streams split after half of its blocks, as a ResNet's after stage 2."""
        start = super().starting_values(setting, given)
        blocks = timm_shape(backbone_name(given)).blocks
        return {**start, "stages": {**start.get("stages", {}), "split": blocks // 2}} if blocks else start

    @model_validator(mode="after")
    def _purifier_has_a_weight(self) -> Self:
        if self.purifier and not self.purifier_weight:
            raise CrossreidError(
                "purifier_weight: expected more than 0 with a purifier; set purifier=false to do without it"
            )
        return self

    @model_validator(mode="after")
    def _release_has_one_form(self) -> Self:
        fixed = {"symmetric": True, "diagonal": False, "graphs": "pooled", "stop_gradient": False}
        other = [key for key, value in fixed.items() if getattr(self, key) != value]
        if self.objective == "release" and other:
            expected = ", ".join(f"{key}={str(value).lower()}" for key, value in fixed.items() if key in other)
            raise CrossreidError(
                f"{', '.join(other)}: the release's objective has {expected}; objective=equations leaves the choice"
            )
        return self


@dataclass(frozen=True, slots=True)
class Sides:
    """Pooled features `(B, W)` before the necks, features after them, and logits `(B, C)`, per stream, of B images.

    `specific` are of f_sp; `taught` of what the shared stream learns from: f~ with a purifier, else f_sp. With
    f~, the release's objective has no neck for f_sp: its feature is the pooled one.
    """

    shared: tuple[Tensor, Tensor, Tensor]
    specific: tuple[Tensor, Tensor, Tensor]
    taught: tuple[Tensor, Tensor, Tensor]
    maps: Purified | None


@register_method(
    "implicit_knowledge",
    options=ImplicitKnowledgeOptions,
    title="Implicit discriminative knowledge (IDKL)",
    recipes="idkl_*.yaml",
)
class ImplicitKnowledge(Method):
    strength: Tensor

    def __init__(self, options: ImplicitKnowledgeOptions, classes: int) -> None:
        super().__init__()
        if options.stages.split is None:
            raise CrossreidError("method.stages.split: implicit_knowledge needs two streams; 2 is the published one.")
        self.options = options
        self.network = TwoStream(options.backbone, options.stages)
        width = self.network.width
        power, learn = options.pooling_power, options.learn_pooling
        self.shared_pooling, self.specific_pooling = (GeneralisedMean(power, learn=learn) for _ in range(2))
        self._released = options.objective == "release"
        self.shared_neck = bn_neck(width)
        if not (self._released and options.purifier):
            self.specific_neck = bn_neck(width)
        self.shared_classifier, self.specific_classifier = (self._classifier(width, classes) for _ in range(2))
        if options.discriminator_weight:
            self.discriminator = modality_classifier(width)
            if options.confuser != "none":
                self.confuser = modality_classifier(width)
        if options.purifier:
            self.purifier = Purifier(width, masks=options.masks, running=self._released)
            self.purified_neck = bn_neck(width)
            if self._released:
                self.purified_classifier = self._classifier(width, classes)
        self.added_losses = AddedLosses(options.losses, width, classes)
        self.register_buffer("strength", torch.zeros(()), persistent=False)
        self.progressed()

    def progressed(self) -> None:
        """Set the strength of the gradient reversal."""
        options = self.options
        self.strength.fill_(reversal_strength(options.reversal_schedule, self.progress, largest=options.reversal))

    def _classifier(self, width: int, classes: int) -> nn.Linear:
        small = self.options.classifier_start == "small"
        return linear_classifier(width, classes) if small else nn.Linear(width, classes, bias=False)

    @property
    def encoders(self) -> Sequence[Encoding]:
        return [self.network]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms by name, for those with a weight.

        They are `identity`, `triplet` of both streams; `confusion`, `discrimination`; `purifier`, `purified`;
        `relation`, `class`, `discrepancy`, `slots`. In the release's objective identity and triplet of the specific
        stream are those of the purified feature, and there is no `purified`. Losses that the options add are of the
        shared stream's features.

        Raises:
            CrossreidError: a term compares modalities, but no identity in the batch has both.
        """
        options = self.options
        with known_rows(batch.composition and batch.composition.by_modality):
            sides = self._sides(batch.images, batch.modalities)
        labels, modalities = self.gather(batch.labels), self.gather(batch.modalities)
        composition = self.composition(batch, labels, modalities)
        shared, specific, taught = (
            tuple(self.gather(part) for part in side) for side in (sides.shared, sides.specific, sides.taught)
        )
        learns = taught if self._released else specific
        terms = {
            "identity": self._identity(shared, labels) + self._identity(learns, labels),
            "triplet": self._triplet(shared, labels) + self._triplet(learns, labels),
        }
        if options.discriminator_weight:
            terms |= self._modality_terms(sides, batch.modalities, labels, modalities)
        if sides.maps is not None and options.purifier_weight:
            terms["purifier"] = options.purifier_weight * self._purifier(sides, labels, modalities, composition)
            if not self._released:
                reid = self._identity(taught, labels) + self._triplet(taught, labels)
                terms["purified"] = options.purifier_weight * reid
        handed_on = self._released_knowledge if self._released else self._knowledge
        terms |= handed_on(shared, taught, composition)
        if options.slots_weight:
            terms["slots"] = options.slots_weight * self._slots(shared[2], taught[2], composition)
        return terms | self.added_losses(shared[0], labels, modalities, taken=terms)

    def _knowledge(
        self, shared: Sequence[Tensor], taught: Sequence[Tensor], composition: Composition
    ) -> dict[str, Tensor]:
        """L_TGSA, L_CSA and L_MDR of the paper's equations, as set by the options."""
        options = self.options
        terms = {}
        how = {"symmetric": options.symmetric, "stop_gradient": options.stop_gradient}
        kinds = composition.by_modality
        nodes = [side[0] if options.graphs == "pooled" else F.normalize(side[0], dim=1) for side in (shared, taught)]
        if options.relation_weight:
            each = [
                graph_alignment(nodes[1][rows], nodes[0][rows], diagonal=options.diagonal, **how)
                for rows in kinds
                if len(rows) > 1
            ]
            terms["relation"] = options.relation_weight * torch.stack(each).sum()
        if options.class_weight:
            classes = [class_alignment(taught[2][rows], shared[2][rows], **how) for rows in kinds if len(rows)]
            terms["class"] = options.class_weight * torch.stack(classes).sum()
        if options.discrepancy_weight:
            composition.refuse_unpaired()
            one, two = composition.matched
            apart = class_alignment(shared[2][one], shared[2][two], symmetric=options.symmetric)
            if options.discrepancy_graphs:
                graphs = graph_alignment(
                    nodes[0][one], nodes[0][two], symmetric=options.symmetric, diagonal=options.diagonal or len(one) < 2
                )
                apart = graphs + apart
            terms["discrepancy"] = options.discrepancy_weight * apart
        return terms

    def _released_knowledge(
        self, shared: Sequence[Tensor], taught: Sequence[Tensor], composition: Composition
    ) -> dict[str, Tensor]:
        """The same terms of the release's objective."""
        options = self.options
        terms = {}
        kinds = composition.by_modality
        if options.relation_weight:
            each = [released_graph_alignment(shared[0][rows], taught[0][rows]) for rows in kinds]
            terms["relation"] = options.relation_weight * torch.stack(each).sum()
        if options.class_weight:
            classes = [class_alignment(shared[2][r], taught[2][r], symmetric=True) for r in kinds if len(r)]
            terms["class"] = options.class_weight * torch.stack(classes).sum()
        if options.discrepancy_weight:
            composition.refuse_unpaired()
            one, two = composition.matched
            apart = class_alignment(shared[2][one], shared[2][two], symmetric=True)
            if options.discrepancy_graphs:
                apart = apart + mixed_graph_alignment(shared[0][one], shared[0][two])
            terms["discrepancy"] = options.discrepancy_weight * apart
        return terms

    def _slots(self, shared: Tensor, taught: Tensor, composition: Composition) -> Tensor:
        """Slots of the shared logits across modalities, and of both streams' within each."""
        composition.refuse_unpaired()
        k = composition.slots.shape[2]
        visible, infrared = composition.slots.flatten(1)
        within = [slot_alignment(shared[rows], taught[rows], k) for rows in (visible, infrared)]
        across = slot_alignment(shared[visible], shared[infrared], k)
        return across + self.options.class_weight * torch.stack(within).sum()

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.predict(images, modalities)[0].float()

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """The test features, and the shared stream's logits."""
        maps = self.network(images, modalities, 1 if self.options.test_features == "shared" else 2)
        feature = self.shared_neck(self.shared_pooling(maps[0]))
        logits = self.shared_classifier(feature)
        if self.options.test_features == "shared":
            return feature, logits
        both = (F.normalize(part.float(), dim=1) for part in (feature, self._taught(maps[1])))
        return concatenate_normalised(list(both)), logits

    def _sides(self, images: Tensor, modalities: Tensor) -> Sides:
        shared_map, specific_map = self.network(images, modalities)
        pooled = self.shared_pooling(shared_map)
        feature = self.shared_neck(pooled)
        shared = pooled, feature, self.shared_classifier(feature)
        pooled = self.specific_pooling(specific_map)
        feature = pooled if self._released and self.options.purifier else self.specific_neck(pooled)
        specific = pooled, feature, self.specific_classifier(feature)
        if not self.options.purifier:
            return Sides(shared, specific, specific, None)
        maps = self.purifier(specific_map)
        pooled = self.specific_pooling(maps.purified)
        feature = self.purified_neck(pooled)
        classifier = self.purified_classifier if self._released else self.specific_classifier
        return Sides(shared, specific, (pooled, feature, classifier(feature)), maps)

    def _taught(self, specific: Tensor) -> Tensor:
        """The specific stream's feature after its neck, from its map, purified if there is a purifier."""
        if not self.options.purifier:
            return self.specific_neck(self.specific_pooling(specific))
        return self.purified_neck(self.specific_pooling(self.purifier(specific).purified))

    def _identity(self, side: Sequence[Tensor], labels: Tensor) -> Tensor:
        return F.cross_entropy(side[2].float(), labels, label_smoothing=self.options.label_smoothing)

    def _triplet(self, side: Sequence[Tensor], labels: Tensor) -> Tensor:
        compared = metric_features(self.options.triplet_features, side[0], side[1])
        if self.options.triplet == "weighted":
            return self.options.triplet_weight * weighted_triplet_loss(compared, labels)
        return self.options.triplet_weight * triplet_loss(
            compared, labels, margin=self.options.margin, own_positive=self._released
        )

    def _modality_terms(self, sides: Sides, own: Tensor, labels: Tensor, modalities: Tensor) -> dict[str, Tensor]:
        """L_D and L_C. `own` are the modalities of this process's images, `labels` and `modalities` those of all."""
        options = self.options
        learns = sides.taught if self._released else sides.specific
        told = self.gather(self.discriminator(learns[1]))
        terms = {"discrimination": options.discriminator_weight * F.cross_entropy(told.float(), modalities)}
        if options.confuser == "none":
            return terms
        feature, wanted = sides.shared[1], modalities
        if options.confuser == "reversal":
            feature = reverse_gradient(feature, self.strength)
        elif self._released:
            wanted = released_pseudo_modalities(labels, modalities)
        else:
            wanted = self.gather(pseudo_modalities(own))
        told = self.gather(self.confuser(feature))
        return terms | {"confusion": options.discriminator_weight * F.cross_entropy(told.float(), wanted)}

    def _purifier(self, sides: Sides, labels: Tensor, modalities: Tensor, composition: Composition) -> Tensor:
        """L_e + L_r."""
        assert sides.maps is not None
        composition.refuse_unpaired()
        identities = labels.index_select(0, composition.slots[0, :, 0])
        stop, power = self.options.stop_gradient, self.specific_pooling.p
        kept = self.specific_pooling(sides.maps.kept)
        reduced, normalised = (
            self.gather(generalised_mean(maps, power)) for maps in (sides.maps.reduced, sides.maps.normalised)
        )
        whole = self.gather(sides.specific[2])
        if self._released:
            surer = released_entropy_reduction(self.gather(self.specific_classifier(kept)), whole)
            return surer + released_centre_reduction(reduced, normalised, labels, modalities, identities)
        # f_sp+ is normalised by its own batch, like f_sp, and does not update the neck's running statistics.
        neck = self.specific_neck
        kept = F.batch_norm(kept, None, None, neck.weight, neck.bias, training=True, eps=neck.eps)
        surer = entropy_reduction(self.gather(self.specific_classifier(kept)), whole, stop_gradient=stop)
        return surer + centre_reduction(
            reduced, normalised, labels, modalities, stop_gradient=stop, identities=identities
        )
