"""A small network of images and its classifier, which learn together: for tests of training that need convolutions."""

import torch
from torch import nn

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone


class OnImages(nn.Module):
    """Images and labels to one loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Backbone(BackboneOptions(name="test_resnet", weights="none"))
        self.classifier = nn.Linear(self.backbone.width, 3)
        self.encoders = [self.backbone]

    def logits(self, images):
        return self.classifier(self.backbone(images).mean((2, 3)))

    def losses(self, batch):
        return {"identity": nn.functional.cross_entropy(self.logits(batch[0]), batch[1])}
