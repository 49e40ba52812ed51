"""The three-branch network that variational distillation and its rivals share, so that only their objectives differ.

Source: Tian et al., "Farewell to Mutual Information", CVPR 2021. Each branch is an encoder
(observation v) and a bottleneck (representation z), with a classifier for each. Branches `infrared` and `visible` are
modality-specific, branch `shared` sees both. Every method on it minimises

    L_cls + L_metric + alpha L_DML + the method's own terms (`objective`).

There are two routings. By `modality` (the paper), an image passes the branch of its modality and the shared one: two
streams. With `all` (the authors' release), every image passes every branch, the infrared branch in grey and the shared
branch both as it is and in grey: four streams.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.joint_channels import luma_of_normalised
from crossreid.data.records import Modality
from crossreid.data.transforms import grey_version
from crossreid.errors import CrossreidError
from crossreid.losses.distillation import mutual_learning
from crossreid.losses.metric import modality_aware_rankings, ranking_loss
from crossreid.losses.released_ranking import released_ranking_loss
from crossreid.losses.transport import sinkhorn_distance
from crossreid.methods.method import Encoding, Method, MethodOptions
from crossreid.methods.three_branch_settings import SETTINGS
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.heads import (
    Bottleneck,
    BottleneckOptions,
    Encoder,
    MapHead,
    concatenate_normalised,
    hidden_classifier,
    linear_classifier,
)
from crossreid.models.two_stream import StageOptions, TwoStream, by_modality, known_rows, rows_by_modality
from crossreid.options import PublishedSettingOptions

# The order in which the release concatenates its streams: those with grey input, then those with the image.
BY_INPUT = ("infrared", "shared_grey", "visible", "shared")


class ThreeBranchOptions(MethodOptions, PublishedSettingOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = SETTINGS

    backbone: BackboneOptions = Field(BackboneOptions(), description="The encoder of each branch.")
    stages: StageOptions | None = Field(
        None,
        description="One two-stream network instead of an encoder per branch: its specific stream serves the "
        "modality-specific branches, its shared stream the shared branch. null for three encoders.",
    )
    bottleneck: BottleneckOptions = Field(BottleneckOptions(), description="The bottleneck of each branch.")
    branches: Literal["all", "specific", "shared"] = Field(
        "all", description="All three branches, the two modality-specific ones, or the shared one alone."
    )
    routing: Literal["modality", "all"] = Field(
        "modality",
        description="`modality`: an image passes the branch of its modality and the shared one; `all`: it passes "
        "every branch.",
    )
    grey: Literal["image", "normalised"] = Field(
        "image",
        description="For routing `all`: grey input is the luma of the image, normalised again (`image`), or of the normalised "
        "channels, as in the release.",
    )
    hidden_classifier: bool = Field(False, description="Classify z behind a hidden layer with dropout.")
    classifier_bias: bool = Field(False, description="Give linear classifiers a bias; a hidden one always has one.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    temperature: float = Field(1.0, gt=0, description="Temperature of every divergence between predictions.")
    identity_weight: float = Field(1.0, ge=0, description="Weight of the classification terms.")
    ranking_weight: float = Field(1.0, ge=0, description="Weight of the ranking terms.")
    ranking_same: tuple[float, float] = Field((2.2, 0.9), description="Boundary and margin within a modality.")
    ranking_across: tuple[float, float] = Field((2.0, 1.0), description="Boundary and margin across modalities.")
    ranking: Literal["ranked_list", "release"] = Field(
        "ranked_list",
        description="`ranked_list`: the pull is averaged over violating positives, with no gradient through the "
        "weights; `release`: over all positives, with gradient through the weights.",
    )
    mutual: Literal["kl", "sinkhorn"] = Field(
        "kl", description="Mutual learning by Kullback-Leibler divergence or by the release's Sinkhorn distance."
    )
    mutual_of: Literal["observation", "both"] = Field(
        "both",
        description="Mutual learning on the predictions of v, or the mean of that on v and on z.",
    )
    mutual_weight: float = Field(8.0, ge=0, description="alpha, the weight of deep mutual learning.")
    test_features: Literal["observation", "representation", "both"] = Field(
        "observation", description="What `embed` returns: v, z, or both, concatenated over all streams."
    )
    test_order: Literal["branch", "input"] = Field(
        "branch",
        description="For routing `all`: order of the streams in the output of `embed`, by branch or with the grey "
        "input first.",
    )

    @model_validator(mode="after")
    def _streams_fit(self) -> Self:
        if self.stages is not None and (
            self.stages.split is None or self.routing != "modality" or self.branches != "all"
        ):
            raise CrossreidError("stages: two streams need stages.split, routing `modality` and all branches")
        return self

    @model_validator(mode="after")
    def _margins_fit(self) -> Self:
        for key in ("ranking_same", "ranking_across"):
            boundary, margin = getattr(self, key)
            if not 0 < margin < boundary:
                raise CrossreidError(
                    f"{key}: expected 0 < margin < boundary, found boundary {boundary}, margin {margin}"
                )
        return self


@dataclass(frozen=True, slots=True)
class Stream:
    """The outputs of one pass over N images: v `(N, W)`, z `(N, Z)` and their logits `(N, C)`.

    If the bottleneck samples z from a Gaussian, `mean` and `deviation` `(N, Z)` are its parameters.
    """

    v: Tensor
    z: Tensor
    v_logits: Tensor
    z_logits: Tensor
    mean: Tensor | None = None
    deviation: Tensor | None = None

    def map(self, function: Any) -> Stream:
        return Stream(*(None if part is None else function(part) for part in self._parts()))  # type: ignore[arg-type]

    def __getitem__(self, rows: Tensor) -> Stream:
        return self.map(lambda part: part.index_select(0, rows))

    def predictions(self, rows: Tensor | None = None) -> Predictions:
        """The predictions of the given rows, or of all; v and z themselves are not copied."""
        if rows is None:
            return Predictions(self.v_logits, self.z_logits)
        return Predictions(self.v_logits.index_select(0, rows), self.z_logits.index_select(0, rows))

    def joined(self, other: Stream) -> Stream:
        """The rows of both."""
        pairs = zip(self._parts(), other._parts(), strict=True)
        return Stream(*(None if one is None else torch.cat([one, two]) for one, two in pairs))  # type: ignore[arg-type,list-item]

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.v, self.z, self.v_logits, self.z_logits, self.mean, self.deviation


class Predictions(NamedTuple):
    """P_v and P_z of N images, as logits `(N, C)`."""

    v_logits: Tensor
    z_logits: Tensor


@dataclass(frozen=True, slots=True)
class Views:
    """A batch as passed to objectives.

    `by_branch`: by branch name (`infrared`, `visible`, `shared`), everything that passed it. `across`: for `specific`
    and `shared`, the predictions of two views, row by row of the same identity: by modality, a visible and an infrared
    image of it; with routing `all`, the grey version and the image itself.
    """

    by_branch: dict[str, Stream]
    across: dict[str, tuple[Predictions, Predictions]]


class Branch(nn.Module):
    """Encoder, bottleneck and the two classifiers P_v = p(y|v), P_z = p(y|z)."""

    def __init__(self, options: ThreeBranchOptions, classes: int, width: int = 0) -> None:
        super().__init__()
        self.encoder = Encoder(options.backbone) if options.stages is None else MapHead(width)
        self.bottleneck = self.make_bottleneck(options)
        bias = options.classifier_bias
        self.v_classifier = linear_classifier(self.encoder.width, classes, bias=bias)
        self.z_classifier = (
            hidden_classifier(options.bottleneck.out, classes)
            if options.hidden_classifier
            else linear_classifier(options.bottleneck.out, classes, bias=bias)
        )

    def make_bottleneck(self, options: ThreeBranchOptions) -> nn.Module:
        return Bottleneck(self.encoder.width, options.bottleneck)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)`, or after two streams their maps `(B, W, h, w)`, to v `(B, W)` and z `(B, Z)`."""
        v = self.encoder(images)
        return v, self.bottleneck(v)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The `Stream` of the images."""
        v, z = self.encode(images)
        return v, z, self.v_classifier(v), self.z_classifier(z)


class ThreeBranch(Method):
    """The network and L_ReID; a subclass adds its `objective`."""

    branch_type: type[Branch] = Branch

    def __init__(self, options: ThreeBranchOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.streams = TwoStream(options.backbone, options.stages) if options.stages is not None else None
        width = self.streams.width if self.streams is not None else 0
        if options.branches != "shared":
            self.infrared = self.branch_type(options, classes, width)
            self.visible = self.branch_type(options, classes, width)
        if options.branches != "specific":
            self.shared = self.branch_type(options, classes, width)

    @abstractmethod
    def objective(self, views: Views) -> dict[str, Tensor]:
        """The method's own terms, weighted."""

    @property
    def branches(self) -> dict[str, Branch]:
        """The existing ones, by name."""
        return {name: child for name, child in self.named_children() if isinstance(child, Branch)}

    @property
    def encoders(self) -> Sequence[Encoding]:
        if self.streams is not None:
            return [self.streams]
        encoders = [branch.encoder for branch in self.branches.values()]
        return [encoder.backbone for encoder in encoders if isinstance(encoder, Encoder)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity`, `ranking`, `mutual` with modality-specific branches, and those of `objective`.

        Raises:
            CrossreidError: with routing by modality, no identity in the batch has both modalities.
        """
        options = self.options
        with known_rows(batch.composition and batch.composition.by_modality):
            passes = self._pass(batch.images, batch.modalities, Branch.__call__)
        streams = {name: Stream(*parts).map(self.gather) for name, parts in passes.items()}
        labels, modalities = self.gather(batch.labels), self.gather(batch.modalities)
        views = self._views(streams, batch, labels, modalities)
        terms = {
            "identity": options.identity_weight * self._identity(streams, labels),
            "ranking": options.ranking_weight * self._ranking(streams, labels, modalities),
        }
        if "specific" in views.across:
            terms["mutual"] = options.mutual_weight * self._mutual(*views.across["specific"])
        return terms | self.objective(views)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._concatenated(self.test_features(images, modalities))

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """Features as compared, and the mean of all streams' logits of v and of z."""
        passes = self._pass(images, modalities, Branch.__call__)
        logits = torch.stack([logits for parts in passes.values() for logits in parts[2:4]]).mean(0)
        return self._concatenated({name: (parts[0], parts[1]) for name, parts in passes.items()}), logits

    def _concatenated(self, streams: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        order = BY_INPUT if self.options.test_order == "input" and self.options.routing == "all" else streams
        v, z = zip(*(streams[name] for name in order if name in streams), strict=True)
        if self.options.test_features == "observation":
            return concatenate_normalised(v)
        if self.options.test_features == "representation":
            return concatenate_normalised(z)
        return concatenate_normalised([concatenate_normalised(v), concatenate_normalised(z)])

    def test_features(self, images: Tensor, modalities: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """v and z per stream, as concatenated by `embed`."""
        return self.observe(images, modalities)

    def observe(self, images: Tensor, modalities: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """v `(B, W)` and z `(B, Z)` by stream name, not normalised: for analyses."""
        passes = self._pass(images, modalities, lambda branch, rows: branch.encode(rows))
        return {name: (parts[0], parts[1]) for name, parts in passes.items()}

    def _pass(self, images: Tensor, modalities: Tensor, through: Any) -> dict[str, tuple[Tensor, ...]]:
        """Outputs per stream, rows in the order of `images`; `through(branch, images)` returns them."""
        specific, shared = self.options.branches != "shared", self.options.branches != "specific"
        if self.options.routing == "all":
            normalised = self.options.grey != "image"
            grey = luma_of_normalised(images.detach()) if normalised else grey_version(images, self.normalisation)
            plan: dict[str, tuple[Branch, Tensor]] = {}
            if specific:
                plan |= {"infrared": (self.infrared, grey), "visible": (self.visible, images)}
            if shared:
                plan |= {"shared_grey": (self.shared, grey), "shared": (self.shared, images)}
            return {name: through(branch, version) for name, (branch, version) in plan.items()}
        shared_input = specific_input = images
        if self.streams is not None:
            shared_input, specific_input = self.streams(images, modalities)
        passes = {}
        if specific:
            passes["specific"] = self._pass_by_modality(specific_input, modalities, through)
        if shared:
            passes["shared"] = through(self.shared, shared_input)
        return passes

    def _pass_by_modality(self, rows: Tensor, modalities: Tensor, through: Any) -> tuple[Tensor, ...]:
        if self.training and 1 in (len(own) for own in rows_by_modality(modalities)):
            raise CrossreidError(
                "a process's batch has one image of a modality, but batch norm needs two to train its branch. Raise "
                "data.sampler.identities or data.sampler.images, or use fewer processes."
            )
        branches = {Modality.VISIBLE: self.visible, Modality.INFRARED: self.infrared}
        return by_modality(rows, modalities, lambda kind, own: through(branches[kind], own))

    def _views(self, streams: dict[str, Stream], batch: Batch, labels: Tensor, modalities: Tensor) -> Views:
        by_branch: dict[str, Stream] = {}
        across: dict[str, tuple[Predictions, Predictions]] = {}
        if self.options.routing == "all":
            if "infrared" in streams:
                by_branch |= {name: streams[name] for name in ("infrared", "visible")}
                across["specific"] = streams["infrared"].predictions(), streams["visible"].predictions()
            if "shared" in streams:
                by_branch["shared"] = streams["shared_grey"].joined(streams["shared"])
                across["shared"] = streams["shared_grey"].predictions(), streams["shared"].predictions()
            return Views(by_branch, across)
        composition = self.composition(batch, labels, modalities)
        composition.refuse_unpaired()
        one, two = composition.pairs
        if "specific" in streams:
            specific = streams["specific"]
            by_branch |= {"infrared": specific[composition.infrared], "visible": specific[composition.visible]}
        if "shared" in streams:
            by_branch["shared"] = streams["shared"]
        across = {name: (stream.predictions(one), stream.predictions(two)) for name, stream in streams.items()}
        return Views(by_branch, across)

    def _weight(self, name: str) -> float:
        """A stream's share of L_cls and L_metric, for v and z each: all branches have equal weight."""
        if name.startswith("shared"):
            return 0.5 if self.options.routing == "modality" else 0.25
        return 1.0 if name == "specific" else 0.5

    def _identity(self, streams: dict[str, Stream], labels: Tensor) -> Tensor:
        smoothing = self.options.label_smoothing
        return sum_of(
            self._weight(name) * F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
            for name, stream in streams.items()
            for logits in (stream.v_logits, stream.z_logits)
        )

    def _ranking(self, streams: dict[str, Stream], labels: Tensor, modalities: Tensor) -> Tensor:
        same, across = self.options.ranking_same, self.options.ranking_across
        ranked = ranking_loss if self.options.ranking == "ranked_list" else released_ranking_loss
        compared = [features for stream in streams.values() for features in (stream.v, stream.z)]
        each = modality_aware_rankings(compared, labels, modalities, same=same, across=across, ranked=ranked)
        weights = [self._weight(name) for name in streams for _ in range(2)]
        return sum_of(weight * term for weight, term in zip(weights, each, strict=True))

    def _mutual(self, one: Predictions, two: Predictions) -> Tensor:
        if self.options.mutual_of == "observation":
            return self._apart(one.v_logits, two.v_logits)
        pairs = (one.v_logits, two.v_logits), (one.z_logits, two.z_logits)
        return 0.5 * sum_of(self._apart(a, b) for a, b in pairs)

    def _apart(self, a: Tensor, b: Tensor) -> Tensor:
        """The divergence between the predictions of two branches, logits `(N, C)`."""
        if self.options.mutual == "sinkhorn":
            return sinkhorn_distance(a.float().softmax(1), b.float().softmax(1))
        return mutual_learning(a, b, temperature=self.options.temperature)


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one or more scalar tensors."""
    return torch.stack(list(terms)).sum()
