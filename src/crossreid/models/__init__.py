"""Networks: backbones of timm and of plugins, cut and altered; attention, pooling, bottlenecks and heads."""
