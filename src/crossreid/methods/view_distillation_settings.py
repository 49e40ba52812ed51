"""The named settings of views knowledge distillation: the paper's, and its authors' release's.

`paper` takes from the release what the paper does not state; docs/view_distillation.md lists these cases. `crossreid`
is the defaults of the options themselves.
"""

from __future__ import annotations

from typing import Any

# Generations are an experiment in the paper; the rates of the later ones are known from the release only.
_GENERATIONS: dict[str, Any] = {"generation_factor": 0.1, "generation_lowest_rate": 1e-5}

SETTINGS: dict[str, dict[str, Any]] = {
    "crossreid": {},
    "paper": {
        "backbone": {"last_activation": False},
        "distance_over": "sum",
        "own_images": "cameras",
        **_GENERATIONS,
    },
    "official": {
        "backbone": {"last_activation": False, "bare_last_block": True},
        "distance_over": "matrix",
        "reset_extent": "release",
        **_GENERATIONS,
    },
}
