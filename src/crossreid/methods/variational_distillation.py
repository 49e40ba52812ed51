"""Variational distillation (VD): Tian et al., "Farewell to Mutual Information", CVPR 2021 (METHODS, section 1).

Three branches, each an encoder (observation v) and a bottleneck (representation z). Branch `infrared` and `visible`
are modality-specific, branch `shared` sees both. Minimised is

    L_cls + L_metric + alpha L_DML + beta (L_VSD + L_VCD + L_VML).

Two routings exist. By `modality` (the paper) an image passes its own modality's branch and the shared one: two
streams. With `all` (the authors' release) every image passes every branch, the infrared branch in grey and the shared
branch both as it is and in grey: four streams. The released code's deviations are options; `SETTINGS` names the three
combinations that are offered. Left out: the release's learning of two optimisers at once and its multi-GPU wrapper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.loader import Batch
from crossreid.data.records import Modality
from crossreid.losses.distillation import (
    cross_modal_pairs,
    js_divergence,
    kl_divergence,
    mutual_learning,
    release_divergence,
    sinkhorn_distance,
)
from crossreid.losses.metric import modality_aware_ranking_loss
from crossreid.methods.method import Method
from crossreid.models.backbones import BackboneOptions
from crossreid.models.grey import grey_version
from crossreid.models.heads import (
    Bottleneck,
    BottleneckOptions,
    Encoder,
    concatenate_normalised,
    hidden_classifier,
    linear_classifier,
)
from crossreid.options import Options

# What each named setting stands for; a key given in a recipe overrides its setting's value.
SETTINGS: dict[str, dict[str, Any]] = {
    "crossreid": {
        "routing": "modality",
        "divergence": "kl",
        "stop_gradient": True,
        "consistency": "divergences",
        "mutual": "kl",
        "mutual_weight": 1.0,
        "self_weight": 0.5,
        "cross_weight": 0.5,
        "consistency_weight": 0.5,
        "hidden_classifier": False,
        "bottleneck": {"batch_norm": True},
        "test_features": "both",
    },
    "paper": {
        "routing": "modality",
        "divergence": "kl",
        "stop_gradient": False,
        "consistency": "divergences",
        "mutual": "kl",
        "mutual_weight": 8.0,
        "hidden_classifier": False,
    },
    "official": {
        "routing": "all",
        "divergence": "release",
        "stop_gradient": True,
        "consistency": "cross_only",
        "mutual": "sinkhorn",
        "mutual_weight": 8.0,
        "hidden_classifier": True,
        "bottleneck": {"hidden": (1000, 500), "batch_norm": True, "doubled": True},
        "backbone": {"stage_attention": True},
    },
}


class VariationalDistillationOptions(Options):
    name: Literal["variational_distillation"] = Field(
        "variational_distillation", description="Three branches; predictions of z distilled from those of v."
    )
    setting: Literal["crossreid", "paper", "official"] = Field(
        "crossreid", description="Which named setting the keys below start from."
    )
    backbone: BackboneOptions = Field(BackboneOptions(), description="The encoder of each branch.")
    bottleneck: BottleneckOptions = Field(BottleneckOptions(), description="The bottleneck of each branch.")
    routing: Literal["modality", "all"] = Field(
        "modality", description="`modality`: an image passes its own branch and the shared one; `all`: every branch."
    )
    divergence: Literal["kl", "release"] = Field(
        "kl", description="`kl`, or what the release computes in its place (`release_divergence`)."
    )
    stop_gradient: bool = Field(True, description="In VSD and VCD let no gradient into the prediction of v.")
    consistency: Literal["divergences", "cross_only"] = Field(
        "divergences", description="`divergences`: VCD and VML; `cross_only`: VCD alone, as in the release."
    )
    mutual: Literal["kl", "sinkhorn"] = Field(
        "kl", description="Mutual learning by Kullback-Leibler divergence or by Sinkhorn distance."
    )
    hidden_classifier: bool = Field(False, description="Classify z behind a hidden layer with dropout.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Label smoothing of the cross-entropies.")
    temperature: float = Field(1.0, gt=0, description="Temperature of every divergence between predictions.")
    identity_weight: float = Field(1.0, ge=0, description="Weight of the classification terms.")
    ranking_weight: float = Field(1.0, ge=0, description="Weight of the ranking terms.")
    ranking_same: tuple[float, float] = Field((2.2, 0.9), description="Boundary and margin within a modality.")
    ranking_across: tuple[float, float] = Field((2.0, 1.0), description="Boundary and margin across modalities.")
    mutual_weight: float = Field(8.0, ge=0, description="alpha, the weight of deep mutual learning.")
    self_weight: float = Field(2.0, ge=0, description="beta of VSD.")
    cross_weight: float = Field(2.0, ge=0, description="beta of VCD.")
    consistency_weight: float = Field(2.0, ge=0, description="beta of VML.")
    test_features: Literal["observation", "representation", "both"] = Field(
        "observation", description="What `embed` returns: v, z, or both, of all streams, concatenated."
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_setting(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        start = SETTINGS.get(str(given.get("setting", "crossreid")), {})
        merged = {**start, **given}
        for section, values in start.items():
            own = given.get(section)
            if isinstance(own, Options):
                own = own.model_dump(exclude_unset=True)
            if isinstance(values, dict) and isinstance(own, dict):
                merged[section] = {**values, **own}
        return merged

    @model_validator(mode="after")
    def _margins_fit(self) -> VariationalDistillationOptions:
        for key in ("ranking_same", "ranking_across"):
            boundary, margin = getattr(self, key)
            if not 0 < margin < boundary:
                raise ValueError(f"{key}: expected 0 < margin < boundary, found boundary {boundary}, margin {margin}")
        return self


@dataclass(frozen=True, slots=True)
class Stream:
    """What one pass over a batch gives: v `(B, W)`, z `(B, Z)` and their logits `(B, C)`; `weight` is its share."""

    weight: float
    v: Tensor
    z: Tensor
    v_logits: Tensor
    z_logits: Tensor


class Branch(nn.Module):
    """Encoder, bottleneck and the two classifiers P_v = p(y|v), P_z = p(y|z)."""

    def __init__(self, options: VariationalDistillationOptions, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(options.backbone)
        self.bottleneck = Bottleneck(self.encoder.width, options.bottleneck)
        self.v_classifier = linear_classifier(self.encoder.width, classes)
        classifier = hidden_classifier if options.hidden_classifier else linear_classifier
        self.z_classifier = classifier(options.bottleneck.out, classes)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)` to v `(B, W)` and z `(B, Z)`."""
        v = self.encoder(images)
        return v, self.bottleneck(v)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v, z = self.encode(images)
        return v, z, self.v_classifier(v), self.z_classifier(z)


class VariationalDistillation(Method):
    def __init__(self, options: VariationalDistillationOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.infrared = Branch(options, classes)
        self.visible = Branch(options, classes)
        self.shared = Branch(options, classes)

    @property
    def encoders(self) -> list[nn.Module]:
        return [branch.encoder.backbone for branch in (self.infrared, self.visible, self.shared)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity`, `ranking`, `mutual`, `vsd`, `vcd` and, where it has a weight, `vml`.

        Raises:
            ValueError: routed by modality, and no identity of the batch is there in both modalities.
        """
        options = self.options
        streams = {name: self._gathered(stream) for name, stream in self._streams(batch).items()}
        labels, modalities = self.gather(batch.labels), self.gather(batch.modalities)
        terms = {
            "identity": options.identity_weight * self._identity(streams, labels),
            "ranking": options.ranking_weight * self._ranking(streams, labels, modalities),
        }
        if options.routing == "modality":
            terms |= self._distil_by_modality(streams, labels, modalities)
        else:
            terms |= self._distil_by_version(streams)
        return terms

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        passes = self._encode(images, modalities)
        v = [parts[0] for parts in passes.values()]
        z = [parts[1] for parts in passes.values()]
        if self.options.test_features == "observation":
            return concatenate_normalised(v)
        if self.options.test_features == "representation":
            return concatenate_normalised(z)
        return concatenate_normalised([concatenate_normalised(v), concatenate_normalised(z)])

    def observe(self, images: Tensor, modalities: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """v `(B, W)` and z `(B, Z)` of each stream by name, not normalised: what analyses look at."""
        return {name: (parts[0], parts[1]) for name, parts in self._encode(images, modalities).items()}

    def _encode(self, images: Tensor, modalities: Tensor) -> dict[str, tuple[Tensor, ...]]:
        return self._pass(images, modalities, Branch.encode)

    def _streams(self, batch: Batch) -> dict[str, Stream]:
        weights = {"specific": 1.0, "infrared": 0.5, "visible": 0.5}
        if self.options.routing == "modality":
            weights["shared"] = 0.5
        else:
            weights["shared"] = weights["shared_grey"] = 0.25
        passes = self._pass(batch.images, batch.modalities, Branch.__call__)
        return {name: Stream(weights[name], *parts) for name, parts in passes.items()}

    def _pass(self, images: Tensor, modalities: Tensor, through: Any) -> dict[str, tuple[Tensor, ...]]:
        """Each stream's outputs, rows in the order of `images`; `through(branch, images)` gives the outputs."""
        if self.options.routing == "all":
            grey = grey_version(images)
            return {
                "infrared": through(self.infrared, grey),
                "visible": through(self.visible, images),
                "shared_grey": through(self.shared, grey),
                "shared": through(self.shared, images),
            }
        infrared = modalities == Modality.INFRARED
        rows = [
            ((~infrared).nonzero().flatten(), self.visible),
            (infrared.nonzero().flatten(), self.infrared),
        ]
        if self.training and any(len(index) == 1 for index, _ in rows):
            raise ValueError(
                "one image of a modality in a process's batch: batch norm needs two to train its branch. Raise "
                "data.sampler.identities or data.sampler.images, or use fewer processes."
            )
        parts = [(index, through(branch, images[index])) for index, branch in rows if len(index)]
        order = torch.argsort(torch.cat([index for index, _ in parts]))
        specific = tuple(torch.cat(outputs)[order] for outputs in zip(*(p for _, p in parts), strict=True))
        return {"specific": specific, "shared": through(self.shared, images)}

    def _gathered(self, stream: Stream) -> Stream:
        gather = self.gather
        return Stream(
            stream.weight, gather(stream.v), gather(stream.z), gather(stream.v_logits), gather(stream.z_logits)
        )

    def _identity(self, streams: dict[str, Stream], labels: Tensor) -> Tensor:
        smoothing = self.options.label_smoothing
        return sum_of(
            stream.weight * F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
            for stream in streams.values()
            for logits in (stream.v_logits, stream.z_logits)
        )

    def _ranking(self, streams: dict[str, Stream], labels: Tensor, modalities: Tensor) -> Tensor:
        same, across = self.options.ranking_same, self.options.ranking_across
        return sum_of(
            stream.weight * modality_aware_ranking_loss(features, labels, modalities, same=same, across=across)
            for stream in streams.values()
            for features in (stream.v, stream.z)
        )

    def _distil_by_modality(self, streams: dict[str, Stream], labels: Tensor, modalities: Tensor) -> dict[str, Tensor]:
        """VSD on the specific branches; DML, VCD and VML on all pairs of an identity across modalities."""
        specific, shared = streams["specific"], streams["shared"]
        infrared = modalities == Modality.INFRARED
        one, two = cross_modal_pairs(labels, modalities)
        self_terms = [
            self._divergence(specific.v_logits[rows], specific.z_logits[rows]) for rows in (infrared, ~infrared)
        ]
        cross_terms = [
            self._divergence(shared.v_logits[two], shared.z_logits[one]),
            self._divergence(shared.v_logits[one], shared.z_logits[two]),
        ]
        mutual = [self._mutual(logits[one], logits[two]) for logits in (specific.v_logits, specific.z_logits)]
        return self._weighed(self_terms, cross_terms, mutual, (shared.z_logits[one], shared.z_logits[two]))

    def _distil_by_version(self, streams: dict[str, Stream]) -> dict[str, Tensor]:
        """The release's pairing: the two versions, as it is and grey, of the same image."""
        infrared, visible = streams["infrared"], streams["visible"]
        grey, shared = streams["shared_grey"], streams["shared"]
        self_terms = [self._divergence(branch.v_logits, branch.z_logits) for branch in (infrared, visible)]
        cross_terms = [
            0.5 * self._divergence(shared.v_logits, grey.z_logits),
            0.5 * self._divergence(grey.v_logits, shared.z_logits),
        ]
        mutual = [
            self._mutual(infrared.v_logits, visible.v_logits),
            self._mutual(infrared.z_logits, visible.z_logits),
        ]
        return self._weighed(self_terms, cross_terms, mutual, (grey.z_logits, shared.z_logits))

    def _weighed(
        self, self_terms: list[Tensor], cross_terms: list[Tensor], mutual: list[Tensor], pair: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        options = self.options
        terms = {
            "mutual": options.mutual_weight * 0.5 * sum_of(mutual),
            "vsd": options.self_weight * sum_of(self_terms),
            "vcd": options.cross_weight * sum_of(cross_terms),
        }
        if options.consistency == "divergences":
            terms["vml"] = options.consistency_weight * js_divergence(*pair, temperature=options.temperature)
        return terms

    def _divergence(self, v_logits: Tensor, z_logits: Tensor) -> Tensor:
        target = v_logits.detach() if self.options.stop_gradient else v_logits
        divergence = kl_divergence if self.options.divergence == "kl" else release_divergence
        return divergence(target, z_logits, temperature=self.options.temperature)

    def _mutual(self, one: Tensor, two: Tensor) -> Tensor:
        if self.options.mutual == "sinkhorn":
            return sinkhorn_distance(one.float().softmax(1), two.float().softmax(1))
        return mutual_learning(one, two, temperature=self.options.temperature)


def sum_of(terms: Any) -> Tensor:
    """The sum of scalar tensors, at least one."""
    return torch.stack(list(terms)).sum()
