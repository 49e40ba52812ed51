"""Batch norm with separate statistics per domain, for networks that learn from several data sets at once.

Source: Chang et al., "Domain-specific batch normalization for unsupervised domain adaptation", CVPR 2019: each domain
has its own running statistics and affine map; all other weights are shared. With `statistics` the affine map is
shared too. At test an image belongs to a named domain or to none; for the latter, means, variances and affine maps are
averaged over all domains.

The norms of a network are replaced once it is built. The domains of a batch's images are set around the forward
pass (`batch_of`), as layers deep inside see only rows; code that passes on only some of the rows says which
(`rows_of`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crossreid.errors import CrossreidError
from crossreid.models.said import Said

DomainNormKind = Literal["shared", "statistics", "all"]
MEAN_OF_DOMAINS = "mean"

_DOMAINS: Said[Tensor] = Said("domains of the batch")


@contextmanager
def batch_of(domains: Tensor | None) -> Iterator[None]:
    """Within the block, images passed through a network are of these domains, `(B,)` int64; None if unknown."""
    with _DOMAINS.saying(domains):
        yield


@contextmanager
def rows_of(index: Tensor, total: int) -> Iterator[None]:
    """Within the block, only the rows `index` of the batch's `total` rows are passed on."""
    domains = _DOMAINS.get()
    with batch_of(None if domains is None else _per_row(domains, total).index_select(0, index)):
        yield


class DomainNorm(nn.Module):
    """Batch norm of S domains, `(B, C, ...)` to the same shape, including the replaced layer's activation.

    In training each row is normalised by the mean and variance of the batch's rows of the same domain, which also
    update that domain's running statistics. In evaluation a row of a known domain is normalised by its domain's running
    statistics, any other row by those of `tested_as`, or by their mean over all domains if it is None.
    """

    def __init__(self, layer: _BatchNorm, domains: int, *, affine: bool) -> None:
        super().__init__()
        if layer.running_mean is None or layer.running_var is None:
            raise CrossreidError("a batch norm without running statistics cannot have them of each domain")
        self.domains, self.channels = domains, layer.num_features
        self.eps, self.momentum = layer.eps, layer.momentum if layer.momentum is not None else 0.1
        self.plain: type[_BatchNorm] = nn.BatchNorm1d if isinstance(layer, nn.BatchNorm1d) else nn.BatchNorm2d
        self.tested_as: int | None = None
        self.track_running_stats = True
        self.register_buffer("running_mean", layer.running_mean.detach().repeat(domains, 1))
        self.register_buffer("running_var", layer.running_var.detach().repeat(domains, 1))
        self.running_mean: Tensor
        self.running_var: Tensor
        own = domains if affine else 1
        for name in ("weight", "bias"):
            given: nn.Parameter | None = getattr(layer, name)
            copied = None if given is None else nn.Parameter(given.detach().repeat(own, 1), given.requires_grad)
            self.register_parameter(name, copied)
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        # What timm's layers do after the norm.
        self.drop = getattr(layer, "drop", nn.Identity())
        self.act = getattr(layer, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        domains = _DOMAINS.get()
        values = x.float()
        if domains is None:
            if self.training:
                raise CrossreidError(
                    "batch norm by domain learns from several data sets, but the batch does not say which its images are of. Train "
                    "with `data` of several sources, or set method.backbone.domain_norm=shared."
                )
            normed = self._by(values, *self._settled())
        else:
            own = _per_row(domains, len(x))[:, None]
            of = (own == torch.arange(self.domains, device=own.device)).to(values.dtype)
            mean, var = measured(self, values, of) if self.training else (self.running_mean, self.running_var)
            scale, shift = (
                (None if part is None else part.expand(self.domains, -1)) for part in (self.weight, self.bias)
            )
            rows = [None if part is None else of @ part for part in (scale, shift)]
            normed = self._by(values, of @ mean, of @ var, *rows)
        result: Tensor = self.act(self.drop(normed.to(x.dtype)))
        return result

    def _by(self, values: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        """Values normalised by each row's statistics and affine map, `(B, C)` or `(C,)`."""
        factor = (var + self.eps).rsqrt() if scale is None else scale * (var + self.eps).rsqrt()
        offset = -mean * factor if shift is None else shift - mean * factor
        return values * _over(factor, values) + _over(offset, values)

    def _settled(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Mean, variance, scale and shift `(C,)` of the domain `tested_as`, or the mean of all."""

        def one(part: Tensor | None) -> Tensor | None:
            if part is None:
                return None
            return part.mean(0) if self.tested_as is None or len(part) == 1 else part[self.tested_as]

        mean, var = one(self.running_mean), one(self.running_var)
        assert mean is not None
        assert var is not None
        return mean, var, one(self.weight), one(self.bias)

    def ordinary(self) -> _BatchNorm:
        """An ordinary batch norm, without activation, equal to this one in evaluation for images of no known domain."""
        mean, var, scale, shift = self._settled()
        plain = self.plain(self.channels, eps=self.eps, momentum=self.momentum, affine=scale is not None)
        with torch.no_grad():
            for name, part in (("running_mean", mean), ("running_var", var), ("weight", scale), ("bias", shift)):
                if part is not None and getattr(plain, name) is not None:
                    getattr(plain, name).copy_(part)
        return plain

    def settled(self) -> nn.Module:
        """`ordinary`, followed by what the replaced layer does after it."""
        plain = self.ordinary()
        behind = [part for part in (self.drop, self.act) if not isinstance(part, nn.Identity)]
        return nn.Sequential(plain, *behind) if behind else plain

    def extra_repr(self) -> str:
        own = self.weight is not None and len(self.weight) > 1
        return f"{self.channels}, domains={self.domains}, affine={'each' if own else 'shared'}"


class GroupStatistics(Protocol):
    """A module that keeps running means and variances `(S, C)` of groups of rows."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float
    track_running_stats: bool


def measured(kept: GroupStatistics, values: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance `(S, C)` of each group's rows of `values` `(B, C, ...)`; they update those of `kept`.

    The running statistics of a group without rows stay as they are.

    Args:
        of: `(B, S)`, 1 if a row belongs to a group, otherwise 0.
    """
    size = values[0, 0].numel()
    count = of.sum(0)[:, None] * size
    there, some = count > 0, count.clamp(min=1)
    mean = of.T @ values.flatten(2).sum(2) / some if values.ndim > 2 else of.T @ values / some
    centred = values - _over(of @ mean, values)
    squares = centred.square()
    var = of.T @ (squares.flatten(2).sum(2) if values.ndim > 2 else squares) / some
    if not kept.track_running_stats:
        return mean, var
    with torch.no_grad():
        unbiased = var * some / (some - 1).clamp(min=1)
        for running, now in ((kept.running_mean, mean), (kept.running_var, unbiased)):
            running.copy_(torch.where(there, torch.lerp(running, now.detach(), kept.momentum), running))
    return mean, var


def put_domain_norm(network: nn.Module, domains: int, kind: DomainNormKind) -> int:
    """Replace every batch norm in `network` by an initially equal one of `domains` domains; return their number."""

    def by_domain(layer: nn.Module) -> nn.Module | None:
        return DomainNorm(layer, domains, affine=kind == "all") if isinstance(layer, _BatchNorm) else None

    return _replace(network, by_domain)


def settle(network: nn.Module) -> int:
    """Replace every batch norm per domain by the ordinary one it equals in evaluation, for serving and export."""
    return _replace(network, lambda layer: layer.settled() if isinstance(layer, DomainNorm) else None)


def adopt_domains(network: nn.Module, domains: Sequence[int | None], kind: DomainNormKind) -> None:
    """Give every batch norm the domains of another network, so that its weights fit; names stay the same.

    For loading weights only: what a layer did after its norm may be lost.

    Args:
        domains: for each domain of the other network, the domain here whose statistics and map it takes; None for the
            mean used for images of no known domain.
        kind: that of the other network; `shared` for ordinary batch norms.
    """

    def adopted(layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, DomainNorm):
            several = isinstance(layer, _BatchNorm) and kind != "shared"
            return DomainNorm(layer, len(domains), affine=kind == "all") if several else None  # type: ignore[arg-type]
        if kind == "shared":
            return layer.ordinary()
        new = DomainNorm(layer.ordinary(), len(domains), affine=kind == "all")
        with torch.no_grad():
            for name in ("running_mean", "running_var", "weight", "bias"):
                given, own = getattr(layer, name), getattr(new, name)
                for row, index in enumerate(domains):
                    if own is not None and index is not None and len(own) == len(domains):
                        own[row] = given[index if len(given) > 1 else 0]
        return new

    _replace(network, adopted)


def count_as(network: nn.Module, domain: int | None) -> None:
    """From now on treat images of no known domain as of this one, or with None by the mean of all."""
    for module in network.modules():
        if isinstance(module, DomainNorm):
            module.tested_as = domain


@contextmanager
def counted_as(network: nn.Module, domain: int | None) -> Iterator[None]:
    """Within the block, treat images of no known domain as of this one; afterwards as before."""
    before = next((module.tested_as for module in network.modules() if isinstance(module, DomainNorm)), None)
    count_as(network, domain)
    try:
        yield
    finally:
        count_as(network, before)


def _replace(network: nn.Module, by: Callable[[nn.Module], nn.Module | None]) -> int:
    """Replace each layer for which `by(layer)` is not None; a layer used in two places stays shared."""
    made: dict[nn.Module, nn.Module] = {}  # by identity
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            new = made.get(child) or by(child)
            if new is not None:
                made[child] = new.train(child.training)
                setattr(module, name, new)
    return len(made)


def _per_row(domains: Tensor, rows: int) -> Tensor:
    """The domain of each of `rows` rows: one per sample, or for sets several consecutive rows per sample."""
    if len(domains) == rows:
        return domains
    if len(domains) == 0 or rows % len(domains):
        raise CrossreidError(
            f"batch norm by domain: {rows} images of a batch of {len(domains)}, so that nobody knows which are of which data set. "
            "Set method.backbone.domain_norm=shared for this method."
        )
    return domains.repeat_interleave(rows // len(domains))


def _over(part: Tensor, values: Tensor) -> Tensor:
    """`(B, C)` or `(C,)` in a shape that broadcasts with `(B, C, ...)`."""
    whole = part if part.ndim == 2 else part[None]
    return whole.reshape(*whole.shape, *[1] * (values.ndim - 2))
