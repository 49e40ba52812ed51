"""The purifier of implicit knowledge: keep what distinguishes identities, not modalities, in a map.

Source: Ren and Zhang, CVPR 2024.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.errors import CrossreidError


class Purified(NamedTuple):
    """Maps `(B, C, h, w)`: F^ = IN(F), the kept part F+ = m_e F, the reduced part F^- = m_r F^, and F~ of both."""

    normalised: Tensor
    kept: Tensor
    reduced: Tensor
    purified: Tensor


class Purifier(nn.Module):
    """Instance norm and two masks: F~ = m_e F^- + m_r F+.

    `pooled` masks are sigmoid(W2 relu(W1 GAP(.))), as published. The mean of an instance-normalised map is the norm's
    own shift for every image, so m_r is then the same for all images. `spatial` masks, as computed by the authors'
    release, omit the pooling: one mask per position. With `running` the norm keeps running statistics, which
    are used in evaluation but not in training, as in the release.
    """

    def __init__(
        self,
        width: int,
        *,
        reduction: int = 16,
        masks: Literal["pooled", "spatial"] = "spatial",
        running: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(width, affine=True, track_running_stats=running)
        inner = max(width // reduction, 1)
        self.keep, self.reduce = (
            nn.Sequential(
                *([nn.AdaptiveAvgPool2d(1)] if masks == "pooled" else []),
                nn.Conv2d(width, inner, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(inner, width, 1, bias=False),
                nn.Sigmoid(),
            )
            for _ in range(2)
        )

    def forward(self, maps: Tensor) -> Purified:
        if maps.shape[2:].numel() < 2:
            raise CrossreidError(
                "the feature map has one place, of which there is nothing to normalise. Use larger images or "
                "method.purifier=false."
            )
        normalised = self._normalised(maps)
        keep, reduce = self.keep(maps), self.reduce(normalised)
        kept, reduced = keep * maps, reduce * normalised
        return Purified(normalised, kept, reduced, keep * reduced + reduce * kept)

    def _normalised(self, maps: Tensor) -> Tensor:
        norm = self.norm
        if self.training or norm.running_mean is None:
            return norm(maps)
        # With running statistics an instance norm is a batch norm, which ONNX can express.
        return F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
