"""The variational information bottleneck (VIB): variational distillation's rival that bounds mutual information.

Source: Alemi et al., "Deep Variational Information Bottleneck", ICLR 2017. z is sampled from a Gaussian whose
mean and deviation the bottleneck predicts; on the three-branch network, the objective minimised is

    L_ReID + beta sum over branches of D_KL( p(z|v) || N(0, 1) ),

an upper bound of I(z; v) of unknown tightness. Training draws one sample of z per image. At test z is sampled several
times; the same noise serves every image, so an image's embedding depends on that image only.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crossreid.losses.information import gaussian_kl
from crossreid.methods.method import register_method
from crossreid.methods.three_branch import Branch, ThreeBranch, ThreeBranchOptions, Views, sum_of
from crossreid.models.heads import GaussianBottleneck


class VariationalInformationBottleneckOptions(ThreeBranchOptions):
    name: Literal["variational_information_bottleneck"] = Field(
        "variational_information_bottleneck", description="Three branches; z is sampled from a Gaussian near N(0, 1)."
    )
    weight: float = Field(1e-3, ge=0, description="beta, the weight of the divergence from the prior.")
    test_samples: int = Field(12, ge=0, description="Samples of z averaged into a test feature; 0 takes the mean.")


class GaussianBranch(Branch):
    def make_bottleneck(self, options: ThreeBranchOptions) -> GaussianBottleneck:
        return GaussianBottleneck(self.encoder.width, options.bottleneck)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """v and one sample of z."""
        v, mean, deviation = self.posterior(images)
        return v, sampled(mean, deviation)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v `(B, W)`, mean and deviation of z `(B, Z)`."""
        v = self.encoder(images)
        return v, *self.bottleneck(v)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        v, mean, deviation = self.posterior(images)
        z = sampled(mean, deviation)
        return v, z, self.v_classifier(v), self.z_classifier(z), mean, deviation


@register_method(
    "variational_information_bottleneck",
    options=VariationalInformationBottleneckOptions,
    title="Variational information bottleneck",
    recipes="vib_*.yaml",
)
class VariationalInformationBottleneck(ThreeBranch):
    options: VariationalInformationBottleneckOptions
    branch_type = GaussianBranch
    noise: Tensor

    def __init__(self, options: VariationalInformationBottleneckOptions, classes: int) -> None:
        super().__init__(options, classes)
        shape = (options.test_samples, options.bottleneck.out)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)

    def objective(self, views: Views) -> dict[str, Tensor]:
        """Term `bottleneck`."""
        terms = []
        for stream in views.by_branch.values():
            assert stream.mean is not None
            assert stream.deviation is not None
            terms.append(gaussian_kl(stream.mean, stream.deviation))
        return {"bottleneck": self.options.weight * sum_of(terms)}

    def test_features(self, images: Tensor, modalities: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """v, and the mean over the test samples of z, each L2-normalised."""
        passes = self._pass(images, modalities, lambda branch, rows: branch.posterior(rows))
        return {name: (v, self._averaged(mean, deviation)) for name, (v, mean, deviation) in passes.items()}

    def _averaged(self, mean: Tensor, deviation: Tensor) -> Tensor:
        if not len(self.noise):
            return mean
        # One sample at a time: L samples of a large batch at once would take L times the memory.
        total = torch.zeros_like(deviation)
        for noise in self.noise:
            total += F.normalize(mean.float() + deviation * noise, dim=1)
        return total / len(self.noise)


def sampled(mean: Tensor, deviation: Tensor) -> Tensor:
    """One draw of each Gaussian, `(B, Z)`, with gradient to both (the reparameterisation)."""
    return mean + deviation * torch.randn_like(deviation)
