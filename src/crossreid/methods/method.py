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
    """What a recipe says under `method`. A method derives its own and gives `name` its own name as type and default."""

    name: str
    backbone: BackboneOptions = Field(BackboneOptions(), description="The encoder.")

    @property
    def encoder(self) -> BackboneOptions:
        """The backbone that images go through: what `data.normalise` and `data.interpolation` follow."""
        return self.backbone

    def with_weights(self, weights: str) -> Self:
        """The same options with other `weights` in the backbones."""
        return self.model_copy(update={"backbone": self.backbone.model_copy(update={"weights": weights})})

    def without_download(self) -> Self:
        """The same options with random weights in the backbone: for a network that a checkpoint is loaded into."""
        return self.with_weights("none")

    def at_size(self, size: tuple[int, int]) -> Self:
        """The same options for images `(height, width)`: encoders that are built for a size are built for that one.

        Raises:
            CrossreidError: an encoder cannot be.
        """
        backbone = at_size(self.backbone, size)
        return self if backbone is self.backbone else self.model_copy(update={"backbone": backbone})

    def with_cameras(self, cameras: Iterable[int]) -> Self:
        """The same options with the numbers of the training cameras, where the backbone embeds cameras and leaves them open."""
        given = self.backbone.transformer
        if not given.embeds_cameras or given.cameras is not None:
            return self
        numbered = given.model_copy(update={"cameras": tuple(sorted(set(cameras)))})
        return self.model_copy(update={"backbone": self.backbone.model_copy(update={"transformer": numbered})})

    def check_data(self, data: DataOptions) -> None:
        """Refuse data that the method cannot learn from; as it stands, sets of images.

        Raises:
            CrossreidError: it cannot.
        """
        if data.sets.size > 1:
            raise CrossreidError(f"data.sets.size is {data.sets.size}, but {self.name} learns from single images")


class Network(nn.Module, ABC):
    """What embeds images and sets of them, and tells the training identities apart.

    `takes_side_information` says that losses and `features_by_camera` pass cameras and modalities on to the backbone, whose options
    may then ask for side information.
    """

    takes_side_information: ClassVar[bool] = False

    @property
    @abstractmethod
    def encoders(self) -> Sequence[Encoding]:
        """The networks that take images: where the time goes, and what is worth compiling."""

    @property
    def map_layers(self) -> list[nn.Module]:
        """The modules that give the last feature maps `(B, W, h, w)`: one an encoder, or of two streams one a stream."""
        streams = (encoder.map_layers if isinstance(encoder, TwoStream) else [encoder] for encoder in self.encoders)
        return [layer for layers in streams for layer in layers]

    @abstractmethod
    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to float32 `(B, D)`: what is averaged over a set, and brought to length 1, to compare."""

    def features_by_camera(self, images: Tensor, modalities: Tensor, cameras: Tensor | None) -> Tensor:
        """`features` of images whose cameras `(B,)` are known; None where they are not. Here they make no difference."""
        return self.features(images, modalities)

    @abstractmethod
    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)`, `(B,)` to features `(B, D)` and logits `(B, C)`, with gradient: what a student learns from."""

    def embed(
        self, images: Tensor, modalities: Tensor, present: Tensor | None = None, *, cameras: Tensor | None = None
    ) -> Tensor:
        """L2-normalised embeddings `(B, D)`, float32.

        Args:
            images: `(B, 3, H, W)`, or sets of them `(B, T, 3, H, W)`.
            modalities: `(B,)`; of sets `(B, T)`.
            present: of sets, `(B, T)` bool, False where a shorter set is padded; all True by default.
            cameras: `(B,)`; of sets `(B, T)`; None where they are not known.

        Raises:
            CrossreidError: a set without an image.
        """
        if images.ndim == 4:
            return nn.functional.normalize(self.features_by_camera(images, modalities, cameras), dim=1)
        if present is None:
            present = torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)
        counts = present.sum(1)
        if not bool((counts > 0).all()):
            raise CrossreidError(
                f"set {int((counts == 0).nonzero()[0])} of {len(images)} is empty; expected an image or more."
            )
        known = None if cameras is None else cameras[present]
        features = self.features_by_camera(images[present], modalities[present], known)
        owners = torch.arange(len(images), device=images.device)[:, None].expand_as(present)[present]
        sums = features.new_zeros(len(images), features.shape[1]).index_add_(0, owners, features)
        return nn.functional.normalize(sums / counts[:, None], dim=1)


class Method(Network):
    """A network and its losses.

    `gather` brings together what the processes of a distributed run hold: outputs `(B, ...)` to `(world * B, ...)`, in
    process order, with gradient, so that losses that compare samples always see the whole batch. It is the identity until
    the training loop calls `train_with`. `progress` is the share of training that is done; the loop sets it before each step.
    `normalisation` is that of the images it is given; `build_method` sets it.

    A step waits for no device where `losses` neither asks a tensor for a value nor lets one decide on a shape, and is compiled
    as a whole where no number of Python's that `losses` reads changes from step to step: `progressed` puts those into tensors.
    """

    normalisation: Normalisation = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self._progress = 0.0
        self.gather: Callable[[Tensor], Tensor] = lambda tensor: tensor

    @property
    def progress(self) -> float:
        """The share of training that is done, 0 at the first step."""
        return self._progress

    @progress.setter
    def progress(self, share: float) -> None:
        self._progress = share
        self.progressed()

    def progressed(self) -> None:
        """Called whenever `progress` is set: for what follows it to be put into tensors, by `fill_`, which nothing waits for."""

    def train_with(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Use `gather` from now on; the training loop calls this where there are several processes."""
        self.gather = gather

    def composition(self, batch: Batch, labels: Tensor, modalities: Tensor) -> Composition:
        """The composition of the images of all processes, whose gathered labels and modalities `(world * B,)` are given.

        That of the batch where there is one process and the batch has it; else it is found, for which the device is waited for.
        """
        if batch.composition is not None and len(labels) == len(batch.labels):
            return batch.composition
        return composition_of(labels, modalities)

    def composed(self, batch: Batch) -> Batch:
        """The batch with its composition, found here where it has none: what `losses` is compiled for."""
        if batch.composition is not None:
            return batch
        return batch._replace(composition=composition_of_sets(batch.labels, batch.modalities))

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is what is minimised."""


M = TypeVar("M", bound=type[Method])


@dataclass(frozen=True, slots=True)
class RegisteredMethod:
    """A method as `METHODS` holds it: its class, the class of its options, and what people read about it.

    `recipes` is the pattern of the names of its recipes in `runs/recipes/`; empty where there are none.
    """

    name: str
    title: str
    options: type[MethodOptions]
    owner: type[Method]
    recipes: str = ""

    def build(self, options: MethodOptions, classes: int) -> Method:
        """The method for so many training identities, with freshly drawn weights."""
        make: Callable[[Any, int], Method] = self.owner
        return make(options, classes)


METHODS: Registry[RegisteredMethod] = Registry("method", "crossreid.methods", package="crossreid.methods")
"""Every method, by its name in recipes."""


def register_method(name: str, *, options: type[MethodOptions], title: str = "", recipes: str = "") -> Callable[[M], M]:
    """Register the class below, made of `(options, classes)`, as the method that recipes call `name`.

    Args:
        title: what reports print; the name where it is empty.
        recipes: a pattern of the names of its recipes.

    Raises:
        PluginError: the options' `name` is another, or one of another module has the name.
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
