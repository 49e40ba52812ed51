"""The conventional information bottleneck (IB): variational distillation's rival that estimates mutual information.

Source: Tishby, Pereira and Bialek, "The information bottleneck method", 1999, with neural estimators (sources in
`crossreid.losses.information`). On the three-branch network, the objective minimised is
    L_ReID + beta sum over branches of I^(v; z),

where L_ReID's cross-entropy on z bounds -I(z; y), and I^ is estimated by a critic per branch, trained in
the same step to make its bound tight: the gradients of its inputs are reversed. Left out: several critic steps per
step.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from crossreid.losses.information import Estimator, MutualInformation
from crossreid.methods.method import register_method
from crossreid.methods.three_branch import Stream, ThreeBranch, ThreeBranchOptions, Views, sum_of
from crossreid.models.critic import Critic
from crossreid.models.reversal import reverse_gradient


class InformationBottleneckOptions(ThreeBranchOptions):
    name: Literal["information_bottleneck"] = Field(
        "information_bottleneck", description="Three branches; estimated I(v; z) is minimised."
    )
    estimator: Estimator = Field("jensen-shannon", description="Estimator of I(v; z).")
    weight: float = Field(0.1, ge=0, description="beta, the weight of I(v; z).")
    critic_hidden: int = Field(256, ge=1, description="Width of the critics' two hidden layers.")
    average_decay: float = Field(
        0.99, ge=0, lt=1, description="For `mine`: decay of the moving average that corrects the bias of the gradient."
    )


@register_method(
    "information_bottleneck",
    options=InformationBottleneckOptions,
    title="Information bottleneck",
    recipes="ib_*.yaml",
)
class InformationBottleneck(ThreeBranch):
    options: InformationBottleneckOptions

    def __init__(self, options: InformationBottleneckOptions, classes: int) -> None:
        super().__init__(options, classes)
        sizes = {name: branch.encoder.width for name, branch in self.branches.items()}
        self.critics = nn.ModuleDict(
            {name: Critic(width, options.bottleneck.out, options.critic_hidden) for name, width in sizes.items()}
        )
        self.estimators = nn.ModuleDict(
            {name: MutualInformation(options.estimator, options.average_decay) for name in sizes}
        )

    def objective(self, views: Views) -> dict[str, Tensor]:
        """Term `bottleneck`: its value is beta times what the critics maximise."""
        return {"bottleneck": sum_of(self._bound(name, stream) for name, stream in views.by_branch.items())}

    def _bound(self, name: str, stream: Stream) -> Tensor:
        weight = self.options.weight
        scores = self.critics[name](reverse_gradient(stream.v, weight), reverse_gradient(stream.z, weight))
        bound = self.estimators[name](scores).objective
        # One backward pass: the critic's gradient minimises -bound, the encoder's is reversed and minimises weight *
        # bound.
        return -bound + (1 + weight) * bound.detach()
