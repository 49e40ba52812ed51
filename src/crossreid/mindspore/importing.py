"""A MindSpore checkpoint as a run: recipe and weights in torch's form, which everything else opens without MindSpore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from crossreid.errors import CrossreidError
from crossreid.files import write_text
from crossreid.mindspore.devices import use_device
from crossreid.mindspore.limits import refuse_network
from crossreid.runs.recipe import load_recipe, make_recipe
from crossreid.training.checkpoint import Checkpoint, save_checkpoint


def import_checkpoint(path: Path, out: Path, *, recipe: Path | None = None) -> Path:
    """Write the run `out`, recipe.yaml and last.safetensors, of the MindSpore checkpoint `path`; returns `out`.

    Args:
        recipe: by which it was trained, of a checkpoint that does not say so itself, or of other data.

    Raises:
        CrossreidError: no such checkpoint, one that does not fit the recipe, no recipe, or `out` holds a run already.
    """
    path, out = Path(path), Path(out)
    if (out / "recipe.yaml").exists():
        raise CrossreidError(f"{out} already holds a run. Choose another --out, or delete that folder.")
    use_device("cpu")
    from crossreid.mindspore.checkpoints import load_parameters, read_checkpoint
    from crossreid.mindspore.weights import build, torch_state

    parameters, entry = read_checkpoint(path)
    if entry is None and recipe is None:
        raise CrossreidError(
            f"{path} does not state the recipe it was trained with. Name one with --recipe RECIPE.yaml."
        )
    by = load_recipe(recipe) if recipe is not None else make_recipe((entry or {})["recipe"], source=str(path))
    refuse_network(by, str(path))
    cell = build(by, _classes(parameters, entry))
    load_parameters(cell, parameters, path)
    weights = {name: torch.from_numpy(values) for name, values in torch_state(cell).items()}
    facts: dict[str, Any] = {"recipe": by.model_dump(mode="json"), "imported": str(path)}
    facts |= {key: entry[key] for key in ("epoch", "step") if entry and key in entry}
    save_checkpoint(out / "last.safetensors", Checkpoint({"model": weights}, facts))
    write_text(out / "recipe.yaml", by.as_yaml())
    return out


def _classes(parameters: dict[str, Any], entry: dict[str, Any] | None) -> int:
    """The training identities of a network: what the checkpoint says, or as many as its classifiers of v have outputs."""
    if entry is not None:
        return int(entry["classes"])
    found = [parameter.shape[0] for name, parameter in parameters.items() if name.endswith("v_classifier.weight")]
    if not found:
        raise CrossreidError(
            "the checkpoint has no parameter `v_classifier.weight`. Expected a three-branch network's."
        )
    return int(found[0])
