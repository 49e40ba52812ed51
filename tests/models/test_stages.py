"""Stages by the modules that belong to them."""

import pytest
import torch

from small_backbone import IMAGES, build


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenetv2_100"])
def test_the_last_stage_is_all_that_stages_before_do_not_need(name):
    backbone = build(name, last_stride_one=False)
    rows = backbone.network.feature_info
    row = (rows if isinstance(rows, list) else rows.info)[-2]["module"]
    seen = []
    hook = backbone.network.get_submodule(row).register_forward_hook(lambda *parts: seen.append(parts[-1]))
    backbone(IMAGES)
    for path in backbone.last_stage:
        for parameter in backbone.get_submodule(path).parameters(recurse=False):
            parameter.add_(1.0)
    backbone(IMAGES)
    hook.remove()
    torch.testing.assert_close(seen[0], seen[1])
    assert sum(p.numel() for path in backbone.last_stage
               for p in backbone.get_submodule(path).parameters(recurse=False)) > 100_000  # fmt: skip
