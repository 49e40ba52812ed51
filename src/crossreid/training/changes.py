"""Which keys of a recipe may change between two starts of a run, and the record of those that did.

What was done so far must stay what the recipe says. So keys that decide how far, where and how often one looks may change at any
start; keys that decide the steps to come alone (the rate and its course) change on request; all others never do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crossreid.options import dotted
from crossreid.training.checkpoint import CheckpointError

# Keys, and sections (with a dot behind them), that change no weight, or none that was trained so far.
FREE = (
    "training.epochs", "training.validate_every", "training.monitor", "training.checkpoint_steps", "training.compile",
    "training.checkpoint_activations",
    "training.accelerator", "training.devices", "training.nodes", "data.root", "data.workers", "data.on_bad_image",
    "data.cache", "data.cache_folder",
    "evaluation.",
)  # fmt: skip
# Those that change the steps to come and nothing before them.
ON_REQUEST = (
    "training.optimiser.lr", "training.optimiser.weight_decay", "training.optimiser.momentum", "training.optimiser.nesterov",
    "training.optimiser.rates", "training.schedule.", "training.clip", "training.precision",
    "training.matmul_precision",
    "training.freeze_batch_statistics", "training.freeze", "training.unfreeze_after",
)  # fmt: skip
# Those after which the numbers of validation are others, so that a best one before says nothing.
MEASURED = ("training.monitor", "evaluation.")
# Earlier names of keys, and what says the same now.
_EARLIER = {
    "training.frozen_stages": ("training.freeze", "training.unfreeze_after"),
    "training.frozen_epochs": ("training.freeze", "training.unfreeze_after"),
    "training.optimiser.new_layers_factor": ("training.optimiser.rates",),
}
OPTION = "--continue-with"
_FEW = 3  # keys that a message says how to put back
# Keys that older recipes do not have, of which null means the same.
_NULL_IF_ABSENT = ("method.backbone.input_size",)


class Change(NamedTuple):
    """A key that changed, with what it was and is; None where it is not there."""

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
    """Whether a dotted key is one of `keys`, or lies in a section among them."""
    key = re.sub(r"^data\.sources\.[^.]+\.(?=root$)", "data.", key)  # of one of several data sets what it is of one
    return any(key == one or key.startswith(one if one.endswith(".") else f"{one}.") for one in keys)


def present_names(keys: Iterable[str]) -> set[str]:
    """Keys by their names of today."""
    return {name for key in keys for name in _EARLIER.get(key, (key,))}


def refuse_request(keys: Collection[str]) -> None:
    """Raise `CheckpointError` where keys are asked to change that never may."""
    never = [key for key in keys if not is_among(key, FREE) and not _may_hold(key)]
    if never:
        raise CheckpointError(
            f"{OPTION} {never[0]}: what was trained so far depends on it. Expected one of "
            f"{', '.join(key.removesuffix('.') for key in ON_REQUEST)}; or start anew with another --out."
        )


def refuse_another_recipe(path: Path, changes: Collection[Change], requested: Collection[str] = ()) -> None:
    """Raise `CheckpointError` with the keys that may not change, or may on request and were not `requested` to."""
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
    """Whether a key is one that changes on request, or a section of such keys alone, as `training.schedule`."""
    return is_among(key, ON_REQUEST) or f"{key}." in ON_REQUEST


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
