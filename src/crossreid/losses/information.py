"""Mutual-information estimators from a critic's scores, and the closed forms of Gaussians.

All take the scores T(v_i, z_j) of every pair of a batch, `(N, N)`: joint pairs on the diagonal, samples
of the product of the marginals off it. Values are in nats. A `Bound` holds the critic's objective and the resulting
estimate of I(v; z); they differ only for Jensen-Shannon.

Sources: Belghazi et al., "MINE", ICML 2018 (Donsker-Varadhan, bias correction); Nguyen, Wainwright and Jordan, IEEE
TIT 2010 (NWJ); van den Oord et al., 2018 (InfoNCE); Nowozin et al., "f-GAN", NeurIPS 2016 and Hjelm et al., "Deep
InfoMax", ICLR 2019 (Jensen-Shannon); Poole et al., "On variational bounds of mutual information", ICML 2019, for how
they fail. Two failures are inherent: InfoNCE cannot exceed log N; the others can, but the variance of their
exponentials grows exponentially with the true value.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.errors import CrossreidError

Estimator = Literal["jensen-shannon", "mine", "infonce", "nwj"]
ESTIMATORS: tuple[Estimator, ...] = ("jensen-shannon", "mine", "infonce", "nwj")


class Bound(NamedTuple):
    """What the critic maximises, with gradient, and the estimate of mutual information in nats, without."""

    objective: Tensor
    nats: Tensor


def infonce(scores: Tensor) -> Tensor:
    """mean_i [ T_ii - log (1/N sum_j exp T_ij) ]: a lower bound of I in expectation, at most log N."""
    return scores.diagonal().mean() - scores.logsumexp(dim=1).mean() + math.log(len(scores))


def nwj(scores: Tensor) -> Tensor:
    """E_joint[T] - E_product[exp(T - 1)]: a lower bound of I in expectation."""
    return scores.diagonal().mean() - torch.exp(log_mean_exp(scores) - 1)


def donsker_varadhan(scores: Tensor) -> Tensor:
    """E_joint[T] - log E_product[exp T]; the logarithm of a batch's mean makes it neither lower nor upper bound."""
    return scores.diagonal().mean() - log_mean_exp(scores)


def jensen_shannon(scores: Tensor) -> Tensor:
    """A lower bound of twice the JS divergence of joint and product, in [0, 2 log 2] for the best critic."""
    return 2 * math.log(2) - F.softplus(-scores.diagonal()).mean() - F.softplus(off_diagonal(scores)).mean()


def off_diagonal(scores: Tensor) -> Tensor:
    """The `(N (N - 1),)` scores of pairs from the product of the marginals."""
    n = len(scores)
    return scores.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()


def log_mean_exp(scores: Tensor) -> Tensor:
    """log E_product[exp T]."""
    n = len(scores)
    return off_diagonal(scores).logsumexp(0) - math.log(n * (n - 1))


class MutualInformation(nn.Module):
    """An estimator with its state: MINE's moving average of E_product[exp T] (its section 3.2).

    The gradient of Donsker-Varadhan's logarithm over a batch is biased, because its denominator is the mean over that
    batch only; MINE uses the moving average instead, with this `decay`.
    """

    log_average: Tensor

    def __init__(self, estimator: Estimator, decay: float = 0.99) -> None:
        super().__init__()
        self.estimator, self.decay = estimator, decay
        self.register_buffer("log_average", torch.tensor(float("-inf")))

    def forward(self, scores: Tensor) -> Bound:
        """The bound of scores `(N, N)`.

        Raises:
            CrossreidError: fewer than two pairs, which have no product of marginals.
        """
        if len(scores) < 2:
            raise CrossreidError(f"expected 2 pairs or more to estimate mutual information from, found {len(scores)}.")
        scores = scores.float()
        if self.estimator == "mine":
            return self._mine(scores)
        if self.estimator == "jensen-shannon":
            # Its best critic is log p(v,z) / p(v)p(z), and NWJ's is one nat higher (Poole et al., section 2.3).
            return Bound(jensen_shannon(scores), nwj(scores.detach() + 1))
        value = infonce(scores) if self.estimator == "infonce" else nwj(scores)
        return Bound(value, value.detach())

    def _mine(self, scores: Tensor) -> Bound:
        log_mean = log_mean_exp(scores)
        if self.training:
            with torch.no_grad():
                kept = self.log_average + math.log(self.decay)
                fresh = log_mean + math.log1p(-self.decay)
                known = torch.isfinite(self.log_average)
                self.log_average.copy_(torch.where(known, torch.logaddexp(kept, fresh), log_mean))
        denominator = torch.where(torch.isfinite(self.log_average), self.log_average, log_mean.detach())
        corrected = torch.exp(log_mean - denominator)
        nats = (scores.diagonal().mean() - log_mean).detach()
        objective = scores.diagonal().mean() - corrected
        return Bound(nats + objective - objective.detach(), nats)


def gaussian_kl(mean: Tensor, deviation: Tensor) -> Tensor:
    """D_KL( N(mean, diag deviation^2) || N(0, 1) ), rows of `(N, Z)`, summed over Z, averaged over rows; in nats.

    Source: Alemi et al., "Deep Variational Information Bottleneck", ICLR 2017: what VIB adds to its cross-entropy.
    """
    mean, deviation = mean.float(), deviation.float()
    return 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum(1).mean()


def correlated_gaussians_information(correlation: float, dimension: int) -> float:
    """I(v; z) of two standard Gaussians whose coordinates are correlated pair by pair: -D/2 log(1 - rho^2)."""
    return -0.5 * dimension * math.log1p(-(correlation**2))


def correlation_for(information: float, dimension: int) -> float:
    """The correlation at which `correlated_gaussians_information` is `information`."""
    return math.sqrt(-math.expm1(-2 * information / dimension))
