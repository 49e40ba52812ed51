"""Networks: backbones from timm, pooling, bottlenecks and heads."""
