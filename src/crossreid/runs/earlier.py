"""Recipes that earlier versions stored, completed with what their runs did where a default is another now.

A run stores every key, so one that is not there is of an earlier version. Most keys that came later do nothing by default; those
here do, and to go on by their defaults would train on something else without a word.
"""

from __future__ import annotations

from typing import Any

from crossreid.data.normalisation import IMAGENET

# Keys of methods that came later, and what was done before.
_OF_METHODS = {
    "baseline": {"triplet_features": "pooled"},
    "agw": {"triplet_features": "pooled"},
    "implicit_knowledge": {"triplet_features": "pooled", "triplet": "hard"},
}


def as_it_was(given: Any) -> Any:
    """A stored recipe with the pixels and the losses that it meant; what is no recipe is returned as it is."""
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
    if isinstance(method.get("backbone"), dict):  # which was built for no size
        completed["backbone"] = {"input_size": None, **method["backbone"]}
    if isinstance(method.get("network"), dict):  # of another method, inside views knowledge distillation
        completed["network"] = _method_as_it_was(method["network"])
    return completed


def has_pixels(given: Any) -> bool:
    """Whether a stored recipe says how its images were normalised."""
    data = given.get("data") if isinstance(given, dict) else None
    return isinstance(data, dict) and "normalise" in data


def forget_filled_sizes(given: dict[str, Any]) -> None:
    """Take the size that encoders are built for out of a recipe, in place: a change of it fills in what follows from it anew.

    One that says null keeps it.
    """
    method = given.get("method")
    while isinstance(method, dict):
        backbone = method.get("backbone")
        if isinstance(backbone, dict) and backbone.get("input_size") is not None:
            method["backbone"] = {key: value for key, value in backbone.items() if key != "input_size"}
        method = method.get("network")
