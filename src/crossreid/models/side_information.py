"""Side information embedding: what is known about an image besides its pixels, as a vector added to all of its
tokens.

Source: He et al., "TransReID: Transformer-based object re-identification", ICCV 2021, section 3.3: tokens + lambda
S[r], lambda = 3. They learn one vector per camera, per viewpoint, or per pair of both. Here `both` is the sum of a
camera's and a modality's vector: most such pairs never occur in training, as most cameras record one modality, and
their vectors would stay at their random initialisation.

An image whose camera is unknown, or had no image in training, uses the mean of the cameras' vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.transformer_options import TransformerOptions

_MODALITIES = 2
CAMERAS = "side_information.camera"  # suffix of the name of the cameras' table in a network


class SideInformation(nn.Module):
    """Modalities and cameras `(B,)` to what is added to the tokens, `(B, 1, width)`.

    Raises:
        CrossreidError: cameras are embedded, but the options do not number them.
    """

    numbers: Tensor

    def __init__(self, options: TransformerOptions, width: int) -> None:
        super().__init__()
        self.weight = options.side_weight
        cameras = options.cameras if options.embeds_cameras else ()
        if options.embeds_cameras and not cameras:
            raise CrossreidError(
                f"method.backbone.transformer.side_information is {options.side_information}, but no camera is "
                "numbered. Training numbers those of its images; elsewhere set "
                "method.backbone.transformer.cameras, for example to [1, 2, 3]."
            )
        self.register_buffer("numbers", torch.tensor(cameras or (), dtype=torch.long), persistent=False)
        modalities = _MODALITIES if options.side_information in ("modality", "both") else 0
        self.camera = _drawn(len(cameras or ()), width)
        self.modality = _drawn(modalities, width)

    def forward(self, modalities: Tensor | None, cameras: Tensor | None) -> Tensor:
        """None stands for unknown modalities or cameras, whose mean is used; `(1, 1, width)` if both are unknown."""
        device = self.numbers.device
        added = torch.zeros(1, 1, device=device)
        if self.camera is not None:
            added = added + _shares(cameras, self.numbers) @ self.camera
        if self.modality is not None:
            kinds = torch.arange(_MODALITIES, device=device)
            added = added + _shares(modalities, kinds) @ self.modality
        return self.weight * added[:, None]


def _drawn(rows: int, width: int) -> nn.Parameter | None:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, width), std=0.02)) if rows else None


def _shares(given: Tensor | None, known: Tensor) -> Tensor:
    """The share `(B, C)` of each of C vectors in the sum: 1 for an image's number, equal shares if it has none."""
    mean = torch.full((1, len(known)), 1 / len(known), device=known.device)
    if given is None:
        return mean
    same = given[:, None] == known
    return torch.where(same.any(1, keepdim=True), same.float(), mean)
