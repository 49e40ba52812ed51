"""The contract of a method: one network with two verbs, `losses` and `embed`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from crossreid.data.batch import Batch
from crossreid.errors import CrossreidError
from crossreid.models.backbones import Backbone
from crossreid.models.two_stream import TwoStream

Encoding = Backbone | TwoStream


class Network(nn.Module, ABC):
    """What embeds images and sets of them, and tells the training identities apart."""

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

    @abstractmethod
    def predict(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)`, `(B,)` to features `(B, D)` and logits `(B, C)`, with gradient: what a student learns from."""

    def embed(self, images: Tensor, modalities: Tensor, present: Tensor | None = None) -> Tensor:
        """L2-normalised embeddings `(B, D)`, float32.

        Args:
            images: `(B, 3, H, W)`, or sets of them `(B, T, 3, H, W)`.
            modalities: `(B,)`; of sets `(B, T)`.
            present: of sets, `(B, T)` bool, False where a shorter set is padded; all True by default.

        Raises:
            CrossreidError: a set without an image.
        """
        if images.ndim == 4:
            return nn.functional.normalize(self.features(images, modalities), dim=1)
        if present is None:
            present = torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)
        counts = present.sum(1)
        if not bool((counts > 0).all()):
            raise CrossreidError(
                f"set {int((counts == 0).nonzero()[0])} of {len(images)} is empty; expected an image or more."
            )
        features = self.features(images[present], modalities[present])
        owners = torch.arange(len(images), device=images.device)[:, None].expand_as(present)[present]
        sums = features.new_zeros(len(images), features.shape[1]).index_add_(0, owners, features)
        return nn.functional.normalize(sums / counts[:, None], dim=1)


class Method(Network):
    """A network and its losses.

    `gather` brings together what the processes of a distributed run hold: outputs `(B, ...)` to `(world * B, ...)`, in
    process order, with gradient, so that losses that compare samples always see the whole batch. It is the identity until
    the training loop calls `train_with`. `progress` is the share of training that is done; the loop sets it before each step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.progress = 0.0
        self.gather: Callable[[Tensor], Tensor] = lambda tensor: tensor

    def train_with(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Use `gather` from now on; the training loop calls this where there are several processes."""
        self.gather = gather

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is what is minimised."""
