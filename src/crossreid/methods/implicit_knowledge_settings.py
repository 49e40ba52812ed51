"""The named settings of IDKL.

`official` is the authors' release (1KK077/IDKL, commit 8676b62) and equals it up to rounding; on RegDB it has its
own weights, set by the recipe: `relation_weight` 0, `discrepancy_graphs` off, `class_weight` 0.3. `crossreid` is this
project's own.
`paper` is the paper's equations; where the paper is silent it follows the release:

* the margin of the triplet losses, 1.3, without label smoothing;
* p of GeM pooling is fixed;
* linear layers have PyTorch's initialisation;
* the network starts from torchvision's first ImageNet weights;
* L_D and L_C weigh 1, L_MDR 1, l1, l2 and l3 as in the release on SYSU-MM01 and LLCM, which are the options'
  defaults;
* in the recipes: weight decay, the fill of padding, and the extent of erasing.

The schedule of the reversal's strength, which neither states, is this project's own.
"""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "crossreid": {
        "stop_gradient": True,
        "masks": "spatial",
        "graphs": "unit",
        "triplet": "weighted",
        "triplet_features": "neck",
        "reversal": 0.1,
    },
    "paper": {
        "stop_gradient": False,
        "masks": "pooled",
        "learn_pooling": False,
        "margin": 1.3,
        "classifier_start": "torch",
        "backbone": {"name": "resnet50.tv_in1k"},
    },
    "official": {
        "objective": "release",
        "stop_gradient": False,
        "masks": "spatial",
        "learn_pooling": False,
        "confuser": "pseudo_labels",
        "symmetric": True,
        "diagonal": False,
        "slots_weight": 1.0,
        "margin": 1.3,
        "classifier_start": "torch",
        "backbone": {"name": "resnet50.tv_in1k"},
    },
}
