"""Variational distillation (VD) in MindSpore: L_ReID + beta (L_VSD + L_VCD + L_VML), in all three settings.

Source: Tian et al., "Farewell to Mutual Information", CVPR 2021; `crossreid.methods.variational_distillation` says which setting
is what, and computes the same.
"""

from __future__ import annotations

from mindspore import Tensor, ops

from crossreid.methods.variational_distillation import VariationalDistillationOptions
from crossreid.mindspore.losses import js_divergence, kl_divergence, release_divergence
from crossreid.mindspore.three_branch import ThreeBranch, Views, sum_of


class VariationalDistillation(ThreeBranch):
    """The three-branch network with VSD on the modality-specific branches, VCD and VML on the shared one."""

    options: VariationalDistillationOptions

    def objective(self, views: Views) -> dict[str, Tensor]:
        """Terms `vsd`; `vcd` and, where it is wanted, `vml`."""
        options = self.options
        terms: dict[str, Tensor] = {}
        if "specific" in views.across:
            own = (views.by_branch[name] for name in ("infrared", "visible"))
            terms["vsd"] = options.self_weight * sum_of(self._divergence(s.v_logits, s.z_logits) for s in own)
        if "shared" in views.across:
            one, two = views.across["shared"]
            cross = self._divergence(two.v_logits, one.z_logits), self._divergence(one.v_logits, two.z_logits)
            share = (
                1.0 if options.routing == "modality" else 0.5
            )  # as in torch, where a stream of grey images counts too
            terms["vcd"] = options.cross_weight * share * sum_of(cross)
            if options.consistency == "divergences":
                same = js_divergence(one.z_logits, two.z_logits, temperature=options.temperature)
                terms["vml"] = options.consistency_weight * same
        return terms

    def _divergence(self, v_logits: Tensor, z_logits: Tensor) -> Tensor:
        target = ops.stop_gradient(v_logits) if self.options.stop_gradient else v_logits
        divergence = kl_divergence if self.options.divergence == "kl" else release_divergence
        return divergence(target, z_logits, temperature=self.options.temperature)
