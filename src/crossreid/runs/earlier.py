"""Recipes stored by earlier versions, completed with the old defaults where a default has changed since.

A run stores every key, so a missing key means an earlier version. Most later keys do nothing by default; those listed
here do, and resuming with their new defaults would silently change the training.
"""

from __future__ import annotations

from typing import Any

from crossreid.data.normalisation import IMAGENET

# Keys of methods that were added later, and the earlier behaviour.
_OF_METHODS = {
    "baseline": {"triplet_features": "pooled"},
    "agw": {"triplet_features": "pooled"},
    "implicit_knowledge": {"triplet_features": "pooled", "triplet": "hard"},
}


def as_it_was(given: Any) -> Any:
    """Return a stored recipe with the pixels and losses that it implied; anything else is returned unchanged."""
    if not isinstance(given, dict):
        return given
    completed = dict(given)
    data = given.get("data")
    if isinstance(data, dict) and not has_pixels(given):
        was = {"mean": list(IMAGENET.mean), "std": list(IMAGENET.std)}
        completed["data"] = {"interpolation": "bilinear", **data, "normalise": was}
    if "method" in given:
        completed["method"] = _method_as_it_was(given["method"])
    return completed


def _method_as_it_was(method: Any) -> Any:
    if not isinstance(method, dict):
        return method
    completed = {**_OF_METHODS.get(str(method.get("name")), {}), **method}
    if isinstance(method.get("backbone"), dict):  # which was not built for a size
        completed["backbone"] = {"input_size": None, **method["backbone"]}
    if isinstance(method.get("network"), dict):  # another method inside views knowledge distillation
        completed["network"] = _method_as_it_was(method["network"])
    return completed


def has_pixels(given: Any) -> bool:
    """Return whether a stored recipe states how its images were normalised."""
    data = given.get("data") if isinstance(given, dict) else None
    return isinstance(data, dict) and "normalise" in data


def forget_filled_sizes(given: dict[str, Any]) -> None:
    """Remove, in place, the size that encoders are built for, so that a change of it is filled in again by what follows
    from it.

    An explicit null is kept.
    """
    method = given.get("method")
    while isinstance(method, dict):
        backbone = method.get("backbone")
        if isinstance(backbone, dict) and backbone.get("input_size") is not None:
            method["backbone"] = {key: value for key, value in backbone.items() if key != "input_size"}
        method = method.get("network")
