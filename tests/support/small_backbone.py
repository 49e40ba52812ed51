"""Small backbones from random weights, and images for them."""

import torch

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone

IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def build(name, **options):
    return Backbone(BackboneOptions(name=name, **{"weights": "none", **options})).eval()
