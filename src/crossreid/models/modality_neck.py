"""The BN neck with a mean and a deviation of each modality, so that what sets the modalities apart as a whole is taken out.

The mean infrared feature lies elsewhere than the mean visible one. A neck that both share puts the mean of all at the origin, and
two images of different modalities stay apart by what no identity has to do with; with statistics of its own, each modality is
centred and scaled by itself. It is domain-specific batch normalisation (Chang et al., CVPR 2019) of one layer, the last, whose scale
the modalities share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossreid.models.domain_norm import measured

MODALITIES = 2  # visible and infrared, by their numbers in `data.records.Modality`


class ModalityNeck(nn.Module):
    """`(B, width)` and modalities `(B,)` to `(B, width)`: each row normalised by its modality, then scaled; there is no shift.

    In training by the mean and variance of the batch's rows of the modality, which also move the running ones; in evaluation by
    those. A modality that is not in the batch keeps its own. Nothing waits for the device, as no shape depends on the modalities.
    """

    def __init__(self, width: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.track_running_stats = True
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("running_mean", torch.zeros(MODALITIES, width))
        self.register_buffer("running_var", torch.ones(MODALITIES, width))
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, pooled: Tensor, modalities: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            values = pooled.float()
            kinds = torch.arange(MODALITIES, device=modalities.device)
            of = (modalities[:, None] == kinds).to(values.dtype)
            mean, var = measured(self, values, of) if self.training else (self.running_mean, self.running_var)
            return (values - of @ mean) * (of @ (var + self.eps).rsqrt()) * self.weight

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, modalities={MODALITIES}"


def as_neck_of(given: nn.Module, own: nn.Module) -> dict[str, Tensor]:
    """The state of the neck `given` for a neck of the kind of `own`: a shared one's statistics are each modality's, and of each
    modality's a shared one gets the mean."""
    state = given.state_dict()
    if isinstance(given, ModalityNeck) == isinstance(own, ModalityNeck):
        return state
    if isinstance(own, ModalityNeck):
        spread = {name: state[name].repeat(MODALITIES, 1) for name in ("running_mean", "running_var")}
        return {"weight": state["weight"], **spread}
    means = {name: state[name].mean(0) for name in ("running_mean", "running_var")}
    return {**own.state_dict(), "weight": state["weight"], **means}
