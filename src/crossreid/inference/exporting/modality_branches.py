"""A network as one function of images and modalities, the form in which it is exported.

A method may send each image through the branch of its modality, with masks whose sizes depend on the data. The export
holds such a network once per modality, passes all images through both, and takes each image's row from its own
modality: correct for every batch size and mixture, and the runtime computes shared parts once. A network that does not
depend on modality is exported once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from crossreid.data.records import Modality
from crossreid.models.two_stream import only_of


def exportable(network: nn.Module, images: Tensor, modalities: Tensor, *, flip: bool) -> nn.Module:
    """Return a module `(images, modalities) -> (embeddings, features)` that uses modalities only to select rows.

    Args:
        network: a method, in evaluation mode; it is run on `images` `(B, 3, H, W)` to see whether it depends on
            `modalities` `(B,)`.
        flip: whether the mirror image's embedding is averaged in.
    """
    # In evaluation mode: the exporter sets all submodules to the mode of the whole.
    one = OneModality(network, None, flip).eval()
    return EitherModality(network, flip).eval() if uses_modality(one, images, modalities) else one


class OneModality(nn.Module):
    """The network for images of one modality, or of any if `modality` is None: images to embeddings and features."""

    def __init__(self, network: nn.Module, modality: Modality | None, flip: bool) -> None:
        super().__init__()
        self.network, self.modality, self.flip = network, modality, flip

    def forward(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        kinds = modalities if self.modality is None else torch.full_like(modalities, int(self.modality))
        with only_of(self.modality):
            return self._of(images, kinds)

    def _of(self, images: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(images, kinds)  # type: ignore[operator]
        if not self.flip:
            return normalize(features, dim=1), features
        # One pass per image; the exported file is compared with `embed`, which computes this differently.
        mirrored = self.network.features(images.flip(3), kinds)  # type: ignore[operator]
        both = normalize(features, dim=1) + normalize(mirrored, dim=1)
        return normalize(both, dim=1), (features + mirrored) / 2


class EitherModality(nn.Module):
    """The network for both modalities; each image gets the row of its own modality."""

    def __init__(self, network: nn.Module, flip: bool) -> None:
        super().__init__()
        self.visible = OneModality(network, Modality.VISIBLE, flip)
        self.infrared = OneModality(network, Modality.INFRARED, flip)

    def forward(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        infrared = (modalities == int(Modality.INFRARED))[:, None]
        pairs = zip(self.infrared(images, modalities), self.visible(images, modalities), strict=True)
        embeddings, features = (torch.where(infrared, one, other) for one, other in pairs)
        return embeddings, features


def uses_modality(network: nn.Module, images: Tensor, modalities: Tensor) -> bool:
    """Whether the network computes anything from the modalities."""
    with _Watched(modalities) as watched:
        network(images, modalities)
    return watched.used


class _Watched(TorchFunctionMode):
    """Record whether torch uses a tensor while active."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor, self.used = tensor, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.used |= any(given is self.tensor for given in tree_leaves((args, kwargs)))
        return func(*args, **(kwargs or {}))
