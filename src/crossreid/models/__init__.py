"""Networks: backbones of timm and of plugins, cut and altered; attention, pooling, bottlenecks and heads."""

from crossreid.models import first_import_of_timm  # noqa: F401  (before any module here imports timm)
