"""Views knowledge distillation: a teacher that sees many views of an identity teaches a student that sees few.

Source: Porrello et al., "Robust re-identification by multiple views knowledge distillation", ECCV 2020.
Without a teacher, the same objective, L_CE + L_TR on sets of images, trains the teacher itself. With one,

    L = L_CE + L_TR + alpha L_KD + beta L_DP,

where the student sees the first M images of each set and the teacher all N. Either network may be that of any
method. The student's features are those before the BN neck, averaged over the set; its logits are the mean over its
images. `view_distillation_settings` has what the paper and its authors' release do differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.data.batch import Batch
from crossreid.data.data_options import DataOptions
from crossreid.errors import CrossreidError
from crossreid.losses.distillation import Reduction, distance_preservation, distilled_knowledge
from crossreid.losses.metric import triplet_loss
from crossreid.losses.weighing import AddedLosses, LossWeights, is_state_of_losses, refuse_modality_losses
from crossreid.methods.building import build_method, method_options
from crossreid.methods.method import Encoding, Method, MethodOptions, Network, register_method
from crossreid.methods.view_distillation_settings import SETTINGS
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.heads import Encoder, linear_classifier
from crossreid.models.resets import Extent, reset_paths
from crossreid.models.running_statistics import KEEPS_STATISTICS
from crossreid.models.two_stream import known_rows
from crossreid.options import PublishedSettingOptions


class ViewDistillationOptions(MethodOptions, PublishedSettingOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = SETTINGS

    name: Literal["view_distillation"] = Field(
        "view_distillation", description="Views knowledge distillation: a teacher of many views, a student of few."
    )
    backbone: BackboneOptions = Field(BackboneOptions(last_activation=False), description="The encoder.")
    network: dict[str, Any] | None = Field(
        None,
        description="Options of another method, as under `method`, whose network is trained; null for a single encoder and "
        "its neck.",
    )
    teacher: Path | None = Field(None, description="Folder of the teacher's run; null trains without a teacher.")
    start: Literal["weights", "teacher"] | Path = Field(
        "weights",
        union_mode="left_to_right",
        description="What the network is initialised from: the backbone's weights, the teacher, or the folder of a run of the "
        "same network.",
    )
    reset_last_stage: bool = Field(
        True,
        description="When starting from a run: reset the last stage to the backbone's own weights, and reinitialise the "
        "heads.",
    )
    reset_extent: Extent = Field(
        "stage",
        description="What is reset: `stage`, everything after the last stage but one; `release`, only the last dense block "
        "in DenseNets and nothing in MobileNets.",
    )
    generation_factor: float = Field(
        1.0, gt=0, le=1, description="Factor of the learning rate for each generation of students after the first."
    )
    generation_lowest_rate: float = Field(
        0.0, ge=0, description="Minimum learning rate of the generations after the first."
    )
    images: int | None = Field(
        None, ge=1, description="M, the number of images of each set that the student sees; null for all."
    )
    own_images: Literal["any", "cameras"] = Field(
        "any", description="Which M images of a set: any of them, or images of as many cameras as possible."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross-entropy.")
    margin: float | None = Field(None, gt=0, description="Margin of the triplet loss; null for the soft margin.")
    identity_weight: float = Field(1.0, ge=0, description="Weight of the cross-entropy, L_CE.")
    triplet_weight: float = Field(1.0, ge=0, description="Weight of the triplet loss.")
    temperature: float = Field(10.0, gt=0, description="tau, the temperature of the teacher's knowledge.")
    knowledge_weight: float = Field(0.1, ge=0, description="alpha, the weight of the teacher's knowledge, L_KD.")
    distance_weight: float = Field(1e-4, ge=0, description="beta, the weight of the distance preservation, L_DP.")
    distance: Literal["squared", "euclidean", "cosine"] = Field(
        "squared", description="Distances to preserve; `cosine` suits networks with features of different scale."
    )
    distance_over: Reduction = Field(
        "pairs",
        description="L_DP is the mean over pairs, the sum over pairs as in the paper, or half the mean over the whole "
        "matrix as in the release.",
    )
    test_features: Literal["pooled", "neck"] = Field(
        "pooled", description="What is averaged over a set and compared: features before the neck, or after it."
    )
    losses: LossWeights = Field({})

    @field_validator("losses")
    @classmethod
    def _of_sets(cls, losses: dict[str, Any]) -> dict[str, Any]:
        return refuse_modality_losses(losses, "a set's images may be of several modalities")

    @property
    def encoder(self) -> BackboneOptions:
        return self.backbone if self.network is None else network_options(self.network).encoder

    def with_weights(self, weights: str) -> Self:
        own = super().with_weights(weights)
        if self.network is None:
            return own
        inner = network_options(self.network).with_weights(weights)
        return own.model_copy(update={"network": inner.model_dump(mode="json")})

    def at_size(self, size: tuple[int, int]) -> Self:
        if self.network is None:
            return super().at_size(size)
        inner = network_options(self.network)
        sized = inner.at_size(size)
        return self if sized is inner else self.model_copy(update={"network": sized.model_dump(mode="json")})

    def check_data(self, data: DataOptions) -> None:
        """Refuse an unsuitable `network`, and sets smaller than the student's."""
        if self.network is not None:
            network_options(self.network)
        if (self.images or 1) > data.sets.size:
            raise CrossreidError(
                f"method.images is {self.images}, but data.sets.size is {data.sets.size}: the student's "
                "images are among its teacher's"
            )


def network_options(given: dict[str, Any]) -> MethodOptions:
    """The options of the method described by `method.network` of a recipe.

    Raises:
        CrossreidError: they are invalid, or the network is view_distillation's own.
    """
    try:
        options = method_options(given)
    except PydanticCustomError as error:
        raise CrossreidError(f"method.network.name: {error.message()}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = "".join(f".{part}" for part in fault["loc"])
        raise CrossreidError(f"method.network{place}: {fault['msg']}, found {fault['input']!r}") from error
    if isinstance(options, ViewDistillationOptions):
        raise CrossreidError("method.network is for other methods' networks; leave it out for view_distillation's own")
    return options


class SetNetwork(Network):
    """One encoder and a classifier after its BN neck."""

    def __init__(self, options: ViewDistillationOptions, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(options.backbone)
        self.classifier = linear_classifier(self.encoder.width, classes)
        self.behind_neck = options.test_features == "neck"

    @property
    def encoders(self) -> list[Backbone]:
        return [self.encoder.backbone]

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.encoder.pool(images, modalities)
        return pooled, self.classifier(self.encoder.neck(pooled))

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        pooled = self.encoder.pool(images)
        return (self.encoder.neck(pooled) if self.behind_neck else pooled).float()


@register_method(
    "view_distillation",
    options=ViewDistillationOptions,
    title="Views knowledge distillation",
    recipes="vkd_*.yaml",
)
class ViewDistillation(Method):
    """The network being trained; `teach(teacher)` gives it a teacher, which is not part of its state."""

    def __init__(self, options: ViewDistillationOptions, classes: int) -> None:
        super().__init__()
        self.options = options
        self.network: Network
        if options.network is None:
            self.network = SetNetwork(options, classes)
        else:
            self.network = build_method(network_options(options.network), classes)
        width = self.network.encoder.width if isinstance(self.network, SetNetwork) else None
        self.added_losses = AddedLosses(options.losses, width, classes)
        # In a tuple, so that it is not a submodule: not saved, averaged or trained with the student.
        self._teacher: tuple[Method, ...] = ()

    @property
    def encoders(self) -> Sequence[Encoding]:
        return self.network.encoders

    @property
    def teacher(self) -> Method | None:
        return self._teacher[0] if self._teacher else None

    def teach(self, teacher: Method) -> None:
        """Learn from `teacher`, which is frozen: no gradient, no dropout, batch statistics, no buffer updates."""
        teacher.eval().requires_grad_(False)
        for module in teacher.modules():
            if isinstance(module, KEEPS_STATISTICS):
                module.train()
                module.track_running_stats = False
        self._teacher = (teacher.to(next(self.parameters()).device),)

    def _apply(self, fn: Any, recurse: bool = True) -> ViewDistillation:
        for teacher in self._teacher:
            teacher._apply(fn)
        super()._apply(fn, recurse)
        return self

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `identity`, `triplet`, the losses that the options add, and, with a teacher, `knowledge` and
        `distance`.

        The batch holds sets, or images, each of which is then a set of one.
        """
        options = self.options
        images, modalities = batch.images, batch.modalities
        if images.ndim == 4:
            images, modalities = images[:, None], modalities[:, None]
        own = images.shape[1] if options.images is None else options.images
        if own > images.shape[1]:
            raise CrossreidError(
                f"method.images is {own}, but a set has {images.shape[1]}. Expected the student's among the teacher's: "
                "raise data.sets.size or lower method.images."
            )
        with known_rows(batch.composition and batch.composition.over_sets(own)):
            features, logits = over_sets(self.predict, *self._own_images(batch, images, modalities, own))
        features, logits, labels = self.gather(features), self.gather(logits), self.gather(batch.labels)
        terms = {
            "identity": options.identity_weight
            * F.cross_entropy(logits.float(), labels, label_smoothing=options.label_smoothing),
            "triplet": options.triplet_weight * triplet_loss(features, labels, margin=options.margin),
        }
        terms |= self.added_losses(features, labels, taken=(*terms, "knowledge", "distance"))
        if self.teacher is None:
            return terms
        with torch.no_grad(), known_rows(batch.composition and batch.composition.over_sets(images.shape[1])):
            shown, told = over_sets(self.teacher.predict, images, modalities)
        shown, told = self.gather(shown), self.gather(told)
        return terms | {
            "knowledge": options.knowledge_weight * distilled_knowledge(told, logits, temperature=options.temperature),
            "distance": options.distance_weight
            * distance_preservation(shown, features, distance=options.distance, over=options.distance_over),
        }

    def _own_images(self, batch: Batch, images: Tensor, modalities: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The student's images of `(B, N, ...)` and modalities of `(B, N)`: the first, or from several cameras."""
        if self.options.own_images == "any" or images.shape[1] == 1:
            return images[:, :count], modalities[:, :count]
        order = several_cameras_first(batch.cameras)[:, :count]
        rows = torch.arange(len(images), device=images.device)[:, None]
        return images[rows, order], modalities[rows, order]

    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.predict(images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self.network.features(images, modalities)


def over_sets(
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], images: Tensor, modalities: Tensor
) -> tuple[Tensor, Tensor]:
    """Means over each set of the outputs of `predict`: `(B, T, 3, H, W)`, `(B, T)` to `(B, D)`, `(B, C)`."""
    count, size = images.shape[:2]
    parts = predict(images.flatten(0, 1), modalities.flatten())
    features, logits = (part.float().unflatten(0, (count, size)).mean(1) for part in parts)
    return features, logits


def several_cameras_first(cameras: Tensor) -> Tensor:
    """Cameras `(B, N)` to the order `(B, N)` of each set's images: the first of every camera, then the second, etc."""
    same = cameras[:, :, None] == cameras[:, None, :]
    return same.tril(-1).sum(2).argsort(dim=1, stable=True)


def start_from(student: ViewDistillation, source: Method, *, reset_last_stage: bool, extent: Extent = "stage") -> None:
    """Copy to `student` the weights of `source`, whose encoders have the same architecture.

    With `reset_last_stage`, the encoders' last stages (as defined by `extent`), necks, bottlenecks and classifiers are
    left unchanged, and `source` may know other identities.

    Raises:
        CrossreidError: the networks differ.
    """
    given: Network = source.network if isinstance(source, ViewDistillation) else source
    pairs: list[tuple[nn.Module, nn.Module]] = [(student.network, given)]
    if reset_last_stage:
        pairs = list(zip_longest(student.encoders, given.encoders, fillvalue=nn.Identity()))
    if any(_shapes(mine) != _shapes(theirs) for mine, theirs in pairs):
        raise CrossreidError(
            "the network to start from has another architecture than the one being trained. Start from weights "
            "(method.start=weights) or from a run of the same architecture."
        )
    for mine, theirs in pairs:
        reset = tuple(f"{path}." for path in reset_paths(mine, extent))
        kept = {key: value for key, value in theirs.state_dict().items() if not key.startswith(reset)}
        kept = {key: value for key, value in kept.items() if not is_state_of_losses(key)}
        mine.load_state_dict(kept, strict=False)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items() if not is_state_of_losses(key)}
