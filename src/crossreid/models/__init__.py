"""Networks: backbones of timm and of plugins, cut and altered; attention, pooling, bottlenecks and heads."""

from crossreid.models.timm_import import import_timm

import_timm()  # before any module here does
