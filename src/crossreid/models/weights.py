"""Weights of backbones from local files: read without running code, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError


class WeightsError(CrossreidError):
    """Weights that cannot be read or do not fit the network they were meant for."""


def load_local_weights(network: nn.Module, path: Path, name: str) -> None:
    """Load a local .safetensors or .pth state dict; a classifier in the file is left aside, nothing else is.

    Raises:
        WeightsError: the file is missing, unreadable, or its keys or shapes are not those of the network.
    """
    given = read_state(path)
    expected = network.state_dict()
    classifier = classifier_keys(network, given)
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - given.keys() - optional)
    unexpected = sorted(given.keys() - expected.keys() - classifier)
    shapes = [
        f"{key}: expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if expected[key].shape != given[key].shape
    ]
    faults = [
        f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("keys missing", missing), ("keys unknown", unexpected), ("shapes that differ", shapes))
        if keys
    ]
    if faults:
        raise WeightsError(
            f"weights in {path} do not fit the backbone {name!r}: {'; '.join(faults)}. "
            "Give a file written for this architecture, or change `method.backbone.name`."
        )
    network.load_state_dict({key: value for key, value in given.items() if key in expected}, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a .pth file without running any code in it."""
    if not path.is_file():
        raise WeightsError(f"weights file {path} not found. Expected `imagenet`, `none`, or an existing file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Mapping[str, object] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights file {path} cannot be read as tensors ({reason}). "
            "Expected .safetensors, or a .pth that holds tensors only."
        ) from error
    for wrapper in ("state_dict", "model"):
        inner = state.get(wrapper) if isinstance(state, Mapping) else None
        if isinstance(inner, Mapping):
            state = inner
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"weights file {path} holds no plain state dict. Expected names mapped to tensors.")
    return {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def classifier_keys(network: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    """The keys of `given` that belong to the classifier the network was built without."""
    config = getattr(network, "pretrained_cfg", None) or {}
    names = config.get("classifier") or "fc"
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {key for key in given if key.startswith((*prefixes, "fc.", "classifier."))}
