"""Losses of the library pytorch-metric-learning by its own names: `metric_learning: {loss: NCALoss}`.

The library is imported when the loss is first computed, and comes with the extra `metric`. Losses with learned weights
are left out: `models.margin_heads` has ours, and says why.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.losses.weighing import register_loss

Name = Literal[
    "AngularLoss", "CircleLoss", "ContrastiveLoss", "FastAPLoss", "GeneralizedLiftedStructureLoss", "IntraPairVarianceLoss",
    "LiftedStructureLoss", "MultiSimilarityLoss", "NCALoss", "NPairsLoss", "NTXentLoss", "PNPLoss",
    "SignalToNoiseRatioContrastiveLoss", "SupConLoss", "TripletMarginLoss", "TupletMarginLoss",
]  # fmt: skip


@register_loss("metric_learning")
def metric_learning_loss(features: Tensor, labels: Tensor, *, loss: Name, options: dict[str, Any] = {}) -> Tensor:  # noqa: B006
    """Return the library's `loss`, constructed with `options`, of features `(B, D)` and labels `(B,)`, in float32.

    Source: Musgrave et al., "PyTorch Metric Learning", arXiv 2020; the library's documentation gives each loss's
    source.

    Raises:
        CrossreidError: the library is not installed, or its loss cannot be constructed with these options.
    """
    made = _made(loss, json.dumps(options, sort_keys=True))
    with torch.autocast(features.device.type, enabled=False):
        value: Tensor = made(features.float(), labels)
    return value


@functools.cache
def _made(loss: str, options: str) -> Any:
    losses = needed("pytorch_metric_learning.losses", "loss 'metric_learning'")
    try:
        made = getattr(losses, loss)(**json.loads(options))
        with torch.random.fork_rng(devices=[]):  # an invalid option may only fail in use
            made(torch.eye(4), torch.tensor([0, 0, 1, 1]))
    except (TypeError, ValueError, AttributeError, AssertionError) as error:
        raise CrossreidError(f"loss 'metric_learning': {loss} cannot be made with {options} ({error}).") from error
    return made
