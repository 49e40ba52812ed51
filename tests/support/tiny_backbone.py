"""A backbone of four convolutions, cut and altered like any other, for tests that trace or compile whole steps."""

import pytest
from torch import nn

from crossreid.models.backbone_registry import BACKBONES, register_backbone


class TinyNet(nn.Module):
    feature_info = [{"module": f"stage{i}", "num_chs": 16, "reduction": 2**i} for i in (1, 2, 3, 4)]  # noqa: RUF012
    num_features = 16

    def __init__(self, layers=4):
        super().__init__()
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(nn.Conv2d(width, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            if stage < layers
            else nn.Identity()
            for stage, width in enumerate((3, 16, 16, 16))
        )

    def forward_features(self, images):
        return self.stage4(self.stage3(self.stage2(self.stage1(images))))


def tiny_net():
    return TinyNet()


def one_layer():
    """Its first stage alone: what is compiled in C++ takes two seconds a layer."""
    return TinyNet(layers=1)


TINY_NETWORK = {"name": "tiny_net", "weights": "none"}
WITHOUT_NON_LOCAL = TINY_NETWORK | {"non_local": (0, 0, 0, 0)}  # for AGW: its stages are no sequences of blocks


def registered_for_a_while():
    with pytest.MonkeyPatch.context() as patch:
        BACKBONES.load()
        patch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
        for make in (tiny_net, one_layer):
            register_backbone(make.__name__)(make)
        yield "tiny_net"


# It is registered for the test, or for all tests of the module; use it by name.
tiny_backbone = pytest.fixture(registered_for_a_while, name="tiny_backbone")
tiny_backbone_of_module = pytest.fixture(registered_for_a_while, scope="module", name="tiny_backbone_of_module")
