"""The contract of a method: one network with two verbs, `losses` and `embed`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from crossreid.data.loader import Batch


class Method(nn.Module, ABC):
    """A network, its losses and its test features.

    `gather` brings together what the processes of a distributed run hold: outputs `(B, ...)` to `(world * B, ...)`, in
    process order, with gradient. It is the identity until the training loop sets it, so that losses that compare
    samples always see the whole batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gather: Callable[[Tensor], Tensor] = lambda tensor: tensor

    @property
    @abstractmethod
    def encoders(self) -> list[nn.Module]:
        """The networks that take images: where the time goes, and what is worth compiling."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms, already weighted; their sum is what is minimised."""

    @abstractmethod
    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to L2-normalised embeddings `(B, D)`, float32."""
