"""A backbone of four convolutions, cut and altered like any other, for tests that trace or compile whole steps."""

import pytest
from torch import nn

from crossreid.models.backbone_registry import BACKBONES, register_backbone


class TinyNet(nn.Module):
    feature_info = [{"module": f"stage{i}", "num_chs": 16, "reduction": 2**i} for i in (1, 2, 3, 4)]  # noqa: RUF012
    num_features = 16

    def __init__(self):
        super().__init__()
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(nn.Conv2d(width, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            for width in (3, 16, 16, 16)
        )

    def forward_features(self, images):
        return self.stage4(self.stage3(self.stage2(self.stage1(images))))


def tiny_net():
    return TinyNet()


@pytest.fixture
def tiny_backbone(monkeypatch):
    """It is registered for the test; use it by name."""
    BACKBONES.load()
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    register_backbone("tiny_net")(tiny_net)
    return "tiny_net"
