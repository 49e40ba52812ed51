"""The fingerprint of a model: equal if and only if the embeddings of two models may be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Keys of a method that say where files were found during training, not what it computes.
_WHEREABOUTS = ("weights", "teacher", "start", "reset_last_stage")


def fingerprint_of(weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Return the hexadecimal SHA-256 of `facts` and of the names, types, shapes and bytes of the weights."""
    stable = _without_whereabouts(facts)
    digest = hashlib.sha256(b"crossreid-model-1\n" + json.dumps(stable, sort_keys=True, default=str).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _without_whereabouts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_whereabouts(inner) for key, inner in value.items() if key not in _WHEREABOUTS}
    return value
