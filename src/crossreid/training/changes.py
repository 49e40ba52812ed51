"""Which recipe keys may change between two starts of a run, and the record of those that did.

What was done so far must stay what the recipe says. So keys that decide how long, where and how often to look may
change at any start; keys that affect only future steps (the learning rate and its schedule) change on request; all
others never do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crossreid.options import dotted
from crossreid.training.checkpoint import CheckpointError

# Keys, and sections (with a trailing dot), that affect no weights, or none trained so far.
FREE = (
    "training.epochs", "training.validate_every", "training.monitor", "training.checkpoint_steps", "training.compile",
    "training.checkpoint_activations",
    "training.accelerator", "training.devices", "training.nodes", "data.root", "data.workers", "data.on_bad_image",
    "data.cache", "data.cache_folder",
    "evaluation.",
)  # fmt: skip
# Those that affect only future steps.
ON_REQUEST = (
    "training.optimiser.lr", "training.optimiser.weight_decay", "training.optimiser.momentum", "training.optimiser.nesterov",
    "training.optimiser.rates", "training.schedule.", "training.clip", "training.precision",
    "training.matmul_precision",
    "training.freeze_batch_statistics", "training.freeze", "training.unfreeze_after",
)  # fmt: skip
# Those that change the validation numbers, so that an earlier best one is meaningless.
MEASURED = ("training.monitor", "evaluation.")
# Earlier names of keys, and their current equivalents.
_EARLIER = {
    "training.frozen_stages": ("training.freeze", "training.unfreeze_after"),
    "training.frozen_epochs": ("training.freeze", "training.unfreeze_after"),
    "training.optimiser.new_layers_factor": ("training.optimiser.rates",),
}
OPTION = "--continue-with"
_FEW = 3  # keys that a message explains how to restore
# Keys missing in older recipes, where null means the same.
_NULL_IF_ABSENT = ("method.backbone.input_size",)


class Change(NamedTuple):
    """A key that changed, with its old and new value; None if absent."""

    key: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} was {self.was!r}, is {self.now!r}"


def changes_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The keys in which two recipes differ, sorted."""
    one, other = dotted(before), dotted(now)
    keys = sorted(one.keys() | other.keys())
    return [Change(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def is_among(key: str, keys: Collection[str]) -> bool:
    """Whether a dotted key is one of `keys`, or lies in one of their sections."""
    key = re.sub(
        r"^data\.sources\.[^.]+\.(?=root$)", "data.", key
    )  # the same key for one of several data sets as for a single one
    return any(key == one or key.startswith(one if one.endswith(".") else f"{one}.") for one in keys)


def present_names(keys: Iterable[str]) -> set[str]:
    """Keys by their current names."""
    return {name for key in keys for name in _EARLIER.get(key, (key,))}


def refuse_request(keys: Collection[str]) -> None:
    """Raise `CheckpointError` if keys are requested to change that never may."""
    never = [key for key in keys if not is_among(key, FREE) and not _may_hold(key)]
    if never:
        raise CheckpointError(
            f"{OPTION} {never[0]}: what was trained so far depends on it. Expected one of "
            f"{', '.join(key.removesuffix('.') for key in ON_REQUEST)}; or start anew with another --out."
        )


def refuse_another_recipe(path: Path, changes: Collection[Change], requested: Collection[str] = ()) -> None:
    """Raise `CheckpointError` naming keys that changed but may not, or may on request but were not `requested`."""
    refused = [
        change
        for change in changes
        if not is_among(change.key, FREE) and not (is_among(change.key, ON_REQUEST) and is_among(change.key, requested))
    ]
    if not refused:
        return
    advice = "Choose another --out, or delete that folder."
    if len(refused) <= _FEW and all(change.was is not None or change.key in _NULL_IF_ABSENT for change in refused):
        kept = " ".join(f"--set {change.key}={_written(change.was)}" for change in refused)
        advice = f"Choose another --out, delete that folder, or go on as it began with {kept}."
    if all(is_among(change.key, ON_REQUEST) for change in refused):
        asked = " ".join(f"{OPTION} {change.key}={_written(change.now)}" for change in refused[:5])
        advice = f"Choose another --out, or go on from there with {asked}."
    raise CheckpointError(
        f"{path} belongs to another recipe ({'; '.join(map(str, refused[:5]))}{_others(refused)}). {advice}"
    )


def _others(refused: Collection[Change]) -> str:
    return f"; and {len(refused) - 5} more" if len(refused) > 5 else ""


def _may_hold(key: str) -> bool:
    """Whether a key may change on request, or is a section of such keys only, like `training.schedule`."""
    return is_among(key, ON_REQUEST) or f"{key}." in ON_REQUEST


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
