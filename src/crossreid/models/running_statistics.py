"""The layers that keep running statistics of their inputs."""

from torch.nn.modules.batchnorm import _BatchNorm

from crossreid.models.domain_norm import DomainNorm

KEEPS_STATISTICS = (_BatchNorm, DomainNorm)
