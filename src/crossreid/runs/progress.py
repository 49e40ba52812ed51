"""How far the training of an unfinished run is: shown wherever its scores or weights are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from crossreid.data.records import DataError, Split
from crossreid.errors import CrossreidError
from crossreid.runs.folders import weights_folder
from crossreid.runs.plan import plan
from crossreid.runs.recipe import recipe_of_run


def unfinished(folder: Path, split: Split | None = None) -> str:
    """Return `not finished: 6 of 144 steps, 0 of 24 epochs`, or "" if the run is finished or its progress is unknown.

    Args:
        split: its training data, from which the number of steps is known.
    """
    facts = _facts(weights_folder(folder) / "last.safetensors")
    try:
        recipe = recipe_of_run(folder)
    except CrossreidError:
        return ""
    epoch, step, epochs = facts.get("epoch"), facts.get("step"), recipe.training.epochs
    if not isinstance(epoch, int) or not isinstance(step, int) or epoch >= epochs:
        return ""
    try:
        total = f" of {plan(recipe, split).total:,}" if split is not None else ""
    except DataError:
        total = ""
    return f"not finished: {step:,}{total} steps, {epoch} of {epochs} epochs"


def _facts(path: Path) -> dict[str, Any]:
    """Return a checkpoint's metadata without its tensors; empty if it cannot be read."""
    try:
        with safe_open(path, framework="np") as stored:
            facts = json.loads((stored.metadata() or {}).get("facts", "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
