"""Recipes that earlier versions stored, completed with what their runs did where a default is another now.

A run stores every key, so one that is not there is of an earlier version. Most keys that came later do nothing by default; those
here do, and to go on by their defaults would train on something else without a word.
"""

from __future__ import annotations

from typing import Any

from crossreid.data.normalisation import IMAGENET

_TRIPLETS = {"triplet_features": "pooled"}
# Keys of methods that came later, and what was done before.
_OF_METHODS: dict[str, dict[str, Any]] = {
    "baseline": {**_TRIPLETS, "triplet_pairs": "all"},
    "agw": _TRIPLETS,
    "implicit_knowledge": _TRIPLETS,
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
    method = given.get("method")
    if isinstance(method, dict):
        completed["method"] = {**_OF_METHODS.get(str(method.get("name")), {}), **method}
    return completed


def has_pixels(given: Any) -> bool:
    """Whether a stored recipe says how its images were normalised."""
    data = given.get("data") if isinstance(given, dict) else None
    return isinstance(data, dict) and "normalise" in data
