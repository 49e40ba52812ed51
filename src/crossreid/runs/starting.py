"""Fine-tuning: a run that starts from the weights of another one, which may have been of other identities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from crossreid.data.sources import same_identities
from crossreid.errors import CrossreidError
from crossreid.losses.weighing import is_state_of_losses
from crossreid.methods import build_method, without_download
from crossreid.methods.method import Method
from crossreid.runs.earlier import as_it_was
from crossreid.runs.recipe import Recipe
from crossreid.runs.run import checkpoint_of
from crossreid.training.checkpoint import fit_weights, read_weights


def start_from_run(method: Method, recipe: Recipe, source: Path) -> str:
    """Give `method`, which `recipe` describes, the weights of a run's best checkpoint, or those in a checkpoint's file.

    What depends on the identities, classifiers above all, is taken from a run on the same data alone; else it stays freshly drawn.

    Returns:
        What was taken and what was not, for people.

    Raises:
        CrossreidError: no such run, or one of another network; what does not fit is named.
    """
    file = source if source.suffix == ".safetensors" else checkpoint_of(source)
    stored = read_weights(file)
    own = method.state_dict()
    # What losses remember is of the run that it was of: it starts as any run's does.
    given = {name: tensor for name, tensor in stored.weights.items() if not is_state_of_losses(name)}
    given |= {name: tensor for name, tensor in own.items() if is_state_of_losses(name)}
    kept: list[str] = []
    if not _same_data(stored.facts.get("recipe"), recipe):
        kept = sorted(_of_identities(recipe, own) & given.keys())
    try:
        fit_weights(method, given | {name: own[name] for name in kept}, file)
    except CrossreidError as error:
        raise CrossreidError(
            f"start_from: {error} Or start from a run of the same method, options and backbone."
        ) from error
    kept = [name for name in kept if not is_state_of_losses(name)]
    taken = f"{sum(name not in kept and not is_state_of_losses(name) for name in own)} tensors taken"
    shown = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
    drawn = f", {len(kept)} drawn anew, for identities of its own ({shown})" if kept else ""
    return f"starts from {file}: {taken}{drawn}{_other_pixels(stored.facts.get('recipe'), recipe)}"


def _other_pixels(stored: Any, recipe: Recipe) -> str:
    """What to say where the weights saw images otherwise resized, scaled or spread than the recipe has them; else nothing."""
    there = as_it_was(stored).get("data") if isinstance(stored, dict) else None
    if not isinstance(there, dict):
        return ""
    here = recipe.data.model_dump(mode="json", include={"normalise", "interpolation", "levels"})
    there = {"levels": "full", **there}
    differ = [f"{there[key]}, and see them of {here[key]} now (data.{key})" for key in sorted(here, reverse=True)
              if there.get(key) not in (None, here[key])]  # fmt: skip
    return "".join(f"; they saw images of {one}" for one in differ)


def _of_identities(recipe: Recipe, own: dict[str, torch.Tensor]) -> set[str]:
    """The tensors whose shape depends on how many training identities there are."""
    with torch.random.fork_rng(devices=[]):
        fewer, more = (build_method(without_download(recipe.method), count).state_dict() for count in (2, 3))
    return {name for name in own if fewer[name].shape != more[name].shape}


def _same_data(stored: Any, recipe: Recipe) -> bool:
    """Whether the data section of a stored recipe names the same identities as that of `recipe`."""
    there = stored.get("data") if isinstance(stored, dict) else None
    return same_identities(there, recipe.data.model_dump(mode="json"))
