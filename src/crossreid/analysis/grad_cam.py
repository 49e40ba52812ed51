"""Where in an image its similarity to its identity comes from: Grad-CAM for a network that embeds instead of
classifying.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017. Its score is that of a class. In retrieval, the test identities have no
class, so the cosine similarity between the image's embedding and a direction is explained: the mean embedding of its
identity's test images. The layer is the feature map of a backbone's last stage, before pooling: with channels A_k,
`map = ReLU(sum_k mean_xy(d score / d A_k) A_k)`.

The length of the image's features is held constant in the gradient. Otherwise the map of a pooled and normalised
embedding would sum to 0 whatever the network sees (the gradient of a cosine is orthogonal to the features); held
constant, the map before the ReLU has the similarity itself as its mean, and shows where that comes from. A method that
normalises between its encoders and its features is differentiated through that; its maps may be 0 everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from crossreid.data.records import DataError
from crossreid.methods.method import Network

_OUT_OF_SHAPE = 3.0  # times the aspect ratio of the image: not a map of it, but a row of tokens


@dataclass(frozen=True)
class Attention:
    """The non-negative map `(h, w)` of the named encoder, the similarity that it explains, and the kind of map."""

    encoder: str
    heat: np.ndarray
    similarity: float
    kind: Literal["grad-cam", "rollout"] = "grad-cam"


def grad_cam(method: Network, image: Tensor, modality: int, direction: np.ndarray) -> list[Attention]:
    """Return Grad-CAM of one image `(3, H, W)` for each encoder that it passes, in the order of `method.map_layers`.

    An encoder that sees the image twice (in colour and in grey) is explained for the second time. The method's mode and
    gradients are restored.

    Args:
        direction: `(D,)`, of any length.

    Raises:
        DataError: an encoder returns tokens instead of a map of the image.
    """
    from captum.attr import LayerGradCam  # imported here: it imports matplotlib, which a service need not wait for

    device = next(method.parameters()).device
    names = {module: name for name, module in method.named_modules()}
    training = method.training
    method.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            # Copies, because inference tensors have no gradient; the image requires one if no weight does.
            images = image[None].to(device, torch.float32).clone().requires_grad_()
            modalities = torch.full((1,), modality, dtype=torch.long, device=device)
            towards = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32, device=device), dim=0)

            def score(images: Tensor, modalities: Tensor) -> Tensor:
                features = method.features(images, modalities)
                return features @ towards / features.detach().norm(dim=1)

            maps, similarity = _maps_of(method, score, images, modalities)
            found = []
            for encoder, (height, width) in maps.items():
                _refuse_tokens(names[encoder], (height, width), (image.shape[1], image.shape[2]))
                heat = LayerGradCam(score, encoder).attribute(
                    images, additional_forward_args=(modalities,), relu_attributions=True
                )
                found.append(Attention(names[encoder], heat[0, 0].detach().cpu().numpy(), similarity))
            return found
    finally:
        method.train(training)


def _maps_of(
    method: Network, score: Any, images: Tensor, modalities: Tensor
) -> tuple[dict[torch.nn.Module, tuple[int, int]], float]:
    """Return the encoders that the image passes with the size of their maps, and its score."""
    sizes: dict[torch.nn.Module, tuple[int, int]] = {}
    hooks = [
        encoder.register_forward_hook(
            lambda module, _inputs, output: sizes.update({module: (output.shape[2], output.shape[3])})
        )
        for encoder in method.map_layers
    ]
    try:
        with torch.no_grad():
            similarity = float(score(images, modalities))
    finally:
        for hook in hooks:
            hook.remove()
    return {encoder: sizes[encoder] for encoder in method.map_layers if encoder in sizes}, similarity


def _refuse_tokens(name: str, size: tuple[int, int], image: tuple[int, int]) -> None:
    longer = (size[0] / size[1]) / (image[0] / image[1])
    if not 1 / _OUT_OF_SHAPE < longer < _OUT_OF_SHAPE:
        raise DataError(
            f"{name} returns {size[0]} x {size[1]} features for an image of {image[0]} x {image[1]} pixels: tokens, not a "
            "map that can be overlaid. Choose a convolutional backbone."
        )


def encoder_title(name: str) -> str:
    """Return the printed name of an encoder: the branch or stream in its module's name, or `encoder` if it is the only
    one.
    """
    if stream := re.search(r"\bstreams\.(\d)", name):
        return ("shared", "specific")[int(stream.group(1))]
    silent = ("network", "encoder", "backbone", "common")
    return " ".join(part for part in name.split(".") if part not in silent and not part.isdigit()) or "encoder"
