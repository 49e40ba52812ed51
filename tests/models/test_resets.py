"""What a student sets back, of the networks of VKD's release and of others."""

import pytest
from torch import nn

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.resets import reset_paths


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("test_resnet", None),
        ("densenet121", ["network.features.denseblock4"]),
        ("mobilenetv2_050", []),
        ("test_efficientnet", None),
    ],
)
def test_release_and_stage(name, released):
    stride = name != "densenet121"
    encoder = Backbone(BackboneOptions(name=name, weights="none", last_stride_one=stride))
    assert reset_paths(encoder, "stage") == encoder.last_stage
    assert reset_paths(encoder, "release") == (encoder.last_stage if released is None else released)


def test_of_no_encoder_nothing_is_reset():
    assert reset_paths(nn.Identity(), "release") == reset_paths(nn.Linear(2, 2), "stage") == []
