"""Variational distillation (VD): Tian et al., "Farewell to Mutual Information", CVPR 2021.

On the three-branch network, the objective minimised is

    L_ReID + beta (L_VSD + L_VCD + L_VML).

VSD acts on the modality-specific branches, VCD and VML on the shared one. `SETTINGS` names three combinations of
options:

* `official` equals the authors' release, even where that cannot have been intended: its divergence is negative, its VCD
  pairs an image with its own grey version, and it has no VML. `tests/parity/test_vd_release.py` checks it against the
  release's numbers.
* `paper` is the paper's equations. The paper is silent on the temperature and on the weights of VSD, VCD and VML: 1
  and 2 each, as released (there the 2 of VML belongs to VCD only). What it takes from the release in the network and
  in L_ReID is listed in `crossreid.methods.three_branch_settings`.
* `crossreid` is this project's own: `paper` with its weights and test features, but with no gradient of VSD and VCD
  into the prediction that is learnt from, and with batch norm inside the bottleneck.

Left out: the release's ImageNet classifier, which it keeps and never uses, and its split of a batch over two GPUs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from crossreid.losses.distillation import js_divergence, kl_divergence, release_divergence
from crossreid.methods.method import register_method
from crossreid.methods.three_branch import ThreeBranch, ThreeBranchOptions, Views, sum_of
from crossreid.methods.three_branch_settings import SETTINGS as NETWORK

SETTINGS: dict[str, dict[str, Any]] = {
    "crossreid": {
        **NETWORK["crossreid"],
        "divergence": "kl",
        "stop_gradient": True,
        "consistency": "divergences",
    },
    "paper": {**NETWORK["paper"], "divergence": "kl", "stop_gradient": False, "consistency": "divergences"},
    "official": {**NETWORK["official"], "divergence": "release", "stop_gradient": True, "consistency": "cross_only"},
}


class VariationalDistillationOptions(ThreeBranchOptions):
    settings: ClassVar[dict[str, dict[str, Any]]] = SETTINGS

    name: Literal["variational_distillation"] = Field(
        "variational_distillation", description="Three branches; the predictions of z are distilled from those of v."
    )
    divergence: Literal["kl", "release"] = Field(
        "kl", description="`kl`, or what the release computes instead (`release_divergence`)."
    )
    stop_gradient: bool = Field(True, description="Stop the gradient into the prediction of v in VSD and VCD.")
    consistency: Literal["divergences", "cross_only"] = Field(
        "divergences", description="`divergences`: VCD and VML; `cross_only`: VCD only, as in the release."
    )
    self_weight: float = Field(2.0, ge=0, description="beta of VSD.")
    cross_weight: float = Field(2.0, ge=0, description="beta of VCD.")
    consistency_weight: float = Field(2.0, ge=0, description="beta of VML.")


@register_method(
    "variational_distillation",
    options=VariationalDistillationOptions,
    title="Variational distillation",
    recipes="vd_*.yaml",
)
class VariationalDistillation(ThreeBranch):
    options: VariationalDistillationOptions

    def objective(self, views: Views) -> dict[str, Tensor]:
        """Terms `vsd` of the modality-specific branches, `vcd` and optionally `vml` of the shared one."""
        options = self.options
        terms: dict[str, Tensor] = {}
        if "specific" in views.across:
            own = (views.by_branch[name] for name in ("infrared", "visible"))
            terms["vsd"] = options.self_weight * sum_of(self._divergence(s.v_logits, s.z_logits) for s in own)
        if "shared" in views.across:
            one, two = views.across["shared"]
            cross = self._divergence(two.v_logits, one.z_logits), self._divergence(one.v_logits, two.z_logits)
            # With routing `all` a branch passes twice as many images as by modality; each then has half the weight.
            share = 1.0 if options.routing == "modality" else 0.5
            terms["vcd"] = options.cross_weight * share * sum_of(cross)
            if options.consistency == "divergences":
                same = js_divergence(one.z_logits, two.z_logits, temperature=options.temperature)
                terms["vml"] = options.consistency_weight * same
        return terms

    def _divergence(self, v_logits: Tensor, z_logits: Tensor) -> Tensor:
        target = v_logits.detach() if self.options.stop_gradient else v_logits
        divergence = kl_divergence if self.options.divergence == "kl" else release_divergence
        return divergence(target, z_logits, temperature=self.options.temperature)
