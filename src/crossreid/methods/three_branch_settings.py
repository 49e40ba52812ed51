"""The named settings of the three-branch network and L_ReID; a method adds those of its objective.

`official` is the authors' release (Tian et al., CVPR 2021) and equals it up to rounding. `crossreid` is this project's
own: `paper`'s weights and test feature, but batch norm inside the bottleneck, and classifiers without biases. `paper`
is the paper's equations; where the paper is silent it follows the release:

* mutual learning on P_v only, with weight 8;
* classifiers have biases; the bottleneck is initialised by Kaiming's fan-out;
* boundaries, margins, label smoothing, temperature and all weights, which are the options' defaults;
* in L_cls and L_metric all branches have equal weight;
* the test feature is v of every stream;
* the encoder starts from torchvision's first ImageNet weights.
"""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "crossreid": {
        "routing": "modality",
        "mutual": "kl",
        "mutual_weight": 8.0,
        "mutual_of": "observation",
        "hidden_classifier": False,
        "bottleneck": {"batch_norm": True},
    },
    "paper": {
        "routing": "modality",
        "mutual": "kl",
        "mutual_weight": 8.0,
        "mutual_of": "observation",
        "hidden_classifier": False,
        "classifier_bias": True,
        "bottleneck": {"initialisation": "release"},
        "backbone": {"name": "resnet50.tv_in1k"},
    },
    "official": {
        "routing": "all",
        "mutual": "sinkhorn",
        "mutual_weight": 8.0,
        "mutual_of": "observation",
        "ranking": "release",
        "hidden_classifier": True,
        "classifier_bias": True,
        "bottleneck": {"hidden": (1000, 500), "batch_norm": True, "doubled": True, "initialisation": "release"},
        "backbone": {"name": "resnet50.tv_in1k", "stage_attention": True},
        "grey": "normalised",
        "test_order": "input",
    },
}
