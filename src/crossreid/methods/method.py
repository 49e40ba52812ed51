"""The contract of a method: options, one network with two verbs, `losses` and `embed`, and a name under `METHODS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.data.batch import Batch
from crossreid.data.composition import Composition, composition_of, composition_of_sets
from crossreid.data.data_options import DataOptions
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions, at_size
from crossreid.models.backbones import Backbone
from crossreid.models.jigsaw import JigsawBackbone
from crossreid.models.two_stream import TwoStream
from crossreid.options import Options
from crossreid.registry import PluginError, Registry

Encoding = Backbone | TwoStream | JigsawBackbone


class MethodOptions(Options):
    """The `method` section of a recipe. A method derives its own class, with its name as type and default of `name`."""

    name: str
    backbone: BackboneOptions = Field(BackboneOptions(), description="The encoder.")

    @property
    def encoder(self) -> BackboneOptions:
        """The backbone for images: `data.normalise` and `data.interpolation` follow it."""
        return self.backbone

    def with_weights(self, weights: str) -> Self:
        """The same options with other `weights` in the backbones."""
        return self.model_copy(update={"backbone": self.backbone.model_copy(update={"weights": weights})})

    def without_download(self) -> Self:
        """The same options with random weights in the backbone: for a network that will be loaded from a checkpoint."""
        return self.with_weights("none")

    def at_size(self, size: tuple[int, int]) -> Self:
        """The same options for images `(height, width)`: encoders built for a fixed size are built for that one.

        Raises:
            CrossreidError: an encoder cannot be built for it.
        """
        backbone = at_size(self.backbone, size)
        return self if backbone is self.backbone else self.model_copy(update={"backbone": backbone})

    def with_cameras(self, cameras: Iterable[int]) -> Self:
        """The same options with the training cameras' numbers, if the backbone embeds cameras but names none."""
        given = self.backbone.transformer
        if not given.embeds_cameras or given.cameras is not None:
            return self
        numbered = given.model_copy(update={"cameras": tuple(sorted(set(cameras)))})
        return self.model_copy(update={"backbone": self.backbone.model_copy(update={"transformer": numbered})})

    def check_data(self, data: DataOptions) -> None:
        """Refuse data that the method cannot learn from; by default, sets of images.

        Raises:
            CrossreidError: the data are refused.
        """
        if data.sets.size > 1:
            raise CrossreidError(f"data.sets.size is {data.sets.size}, but {self.name} learns from single images")


class Network(nn.Module, ABC):
    """A network that embeds images and sets of images, and classifies the training identities.

    `takes_side_information`: losses and `features_by_camera` pass cameras and modalities on to the backbone, whose
    options may then ask for side information.
    """

    takes_side_information: ClassVar[bool] = False

    @property
    @abstractmethod
    def encoders(self) -> Sequence[Encoding]:
        """The networks that take images: they take most of the time and are worth compiling."""

    @property
    def map_layers(self) -> list[nn.Module]:
        """The modules that return the last feature maps `(B, W, h, w)`: one per encoder, or one per stream."""
        streams = (encoder.map_layers if isinstance(encoder, TwoStream) else [encoder] for encoder in self.encoders)
        return [layer for layers in streams for layer in layers]

    @abstractmethod
    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to float32 `(B, D)`: averaged over a set and L2-normalised for comparison."""

    def features_by_camera(self, images: Tensor, modalities: Tensor, cameras: Tensor | None) -> Tensor:
        """`features` of images whose cameras `(B,)` are known, or None. By default cameras make no difference."""
        return self.features(images, modalities)

    @abstractmethod
    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)`, `(B,)` to features `(B, D)` and logits `(B, C)`, with gradient, for a student."""

    def embed(
        self, images: Tensor, modalities: Tensor, present: Tensor | None = None, *, cameras: Tensor | None = None
    ) -> Tensor:
        """L2-normalised embeddings `(B, D)`, float32.

        Args:
            images: `(B, 3, H, W)`, or sets of them `(B, T, 3, H, W)`.
            modalities: `(B,)`; for sets `(B, T)`.
            present: for sets, `(B, T)` bool, False where a shorter set is padded; all True by default.
            cameras: `(B,)`; for sets `(B, T)`; None if unknown.

        Raises:
            CrossreidError: a set has no image.
        """
        if images.ndim == 4:
            return nn.functional.normalize(self.features_by_camera(images, modalities, cameras), dim=1)
        if present is None:
            present = torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)
        counts = present.sum(1)
        if not bool((counts > 0).all()):
            raise CrossreidError(
                f"set {int((counts == 0).nonzero()[0])} of {len(images)} is empty; expected at least one image."
            )
        known = None if cameras is None else cameras[present]
        features = self.features_by_camera(images[present], modalities[present], known)
        owners = torch.arange(len(images), device=images.device)[:, None].expand_as(present)[present]
        sums = features.new_zeros(len(images), features.shape[1]).index_add_(0, owners, features)
        return nn.functional.normalize(sums / counts[:, None], dim=1)


class Method(Network):
    """A network and its losses.

    `gather` collects what the processes of a distributed run hold: outputs `(B, ...)` to `(world * B, ...)`, in
    process order, with gradient, so that losses that compare samples always see the whole batch. It is the identity
    until the training loop calls `train_with`. `progress` is the fraction of training done; the loop sets it before
    each step. `normalisation` is that of the input images; `build_method` sets it.

    A step waits for no device if `losses` neither reads a value from a tensor nor derives a shape from one, and is
    compiled as a whole if no Python number that `losses` reads changes from step to step: `progressed` puts those into
    tensors.
    """

    normalisation: Normalisation = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self._progress = 0.0
        self.gather: Callable[[Tensor], Tensor] = lambda tensor: tensor

    @property
    def progress(self) -> float:
        """The fraction of training done, 0 at the first step."""
        return self._progress

    @progress.setter
    def progress(self, share: float) -> None:
        self._progress = share
        self.progressed()

    def progressed(self) -> None:
        """Called whenever `progress` is set, to update tensors that depend on it by `fill_`, which does not wait."""

    def train_with(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Use `gather` from now on; the training loop calls this if there are several processes."""
        self.gather = gather

    def composition(self, batch: Batch, labels: Tensor, modalities: Tensor) -> Composition:
        """The composition of the images of all processes, from their gathered labels and modalities `(world * B,)`.

        With one process it is that of the batch if it has one; otherwise it is computed, for which the device is waited
        for.
        """
        if batch.composition is not None and len(labels) == len(batch.labels):
            return batch.composition
        return composition_of(labels, modalities)

    def composed(self, batch: Batch) -> Batch:
        """The batch with its composition, computed here if it has none: what `losses` is compiled for."""
        if batch.composition is not None:
            return batch
        return batch._replace(composition=composition_of_sets(batch.labels, batch.modalities))

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is minimised."""


M = TypeVar("M", bound=type[Method])


@dataclass(frozen=True, slots=True)
class RegisteredMethod:
    """An entry of `METHODS`: the method's class, the class of its options, and its title for reports.

    `recipes` is the filename pattern of its recipes in `runs/recipes/`; empty if there are none.
    """

    name: str
    title: str
    options: type[MethodOptions]
    owner: type[Method]
    recipes: str = ""

    def build(self, options: MethodOptions, classes: int) -> Method:
        """The method for this number of training identities, with freshly initialised weights."""
        make: Callable[[Any, int], Method] = self.owner
        return make(options, classes)


METHODS: Registry[RegisteredMethod] = Registry("method", "crossreid.methods", package="crossreid.methods")
"""Every method, by its name in recipes."""


def register_method(name: str, *, options: type[MethodOptions], title: str = "", recipes: str = "") -> Callable[[M], M]:
    """Register the decorated class, constructed with `(options, classes)`, as the method `name` in recipes.

    Args:
        title: printed in reports; the name if empty.
        recipes: filename pattern of its recipes.

    Raises:
        PluginError: the options' `name` differs, or another module has registered the name.
    """
    default = options.model_fields["name"].default
    if default != name:
        raise PluginError(
            f"method {name!r}: the `name` of {options.__name__} has the default {default!r}. Expected {name!r}, so that "
            "recipes and options agree."
        )

    def register(method: M) -> M:
        METHODS.add(name, RegisteredMethod(name, title or name, options, method, recipes))
        return method

    return register
