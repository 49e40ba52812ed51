"""Training by a recipe in MindSpore: torch's loop, files, batches and validation around steps that MindSpore computes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossreid.methods.method import Method
from crossreid.mindspore.devices import use_device
from crossreid.mindspore.limits import refuse_unsupported
from crossreid.runs.recipe import Recipe, load_recipe, make_recipe
from crossreid.runs.train import train as train_all
from crossreid.training.checkpoint import Checkpoint, save_checkpoint
from crossreid.training.framework import Framework
from crossreid.training.loop import FitResult

FRAMEWORK = "mindspore"


def train(
    recipe: Recipe | Path | str,
    out: Path | str | None = None,
    *,
    trials: Sequence[int] = (),
    stage: str | None = None,
    continue_with: Sequence[str] = (),
    done: Callable[[Path, FitResult], object] | None = None,
) -> FitResult:
    """As `crossreid.train`, in MindSpore: the same recipe, batches, weights to start from, rates, protocol and files.

    Beside each checkpoint lies MindSpore's own, last.ckpt and best.ckpt, of the same weights.

    Raises:
        CrossreidError: what `crossreid.train` refuses, what of the recipe MindSpore does not train by here, or MindSpore is
            not installed.
    """
    if not isinstance(recipe, Recipe):
        out = Path("runs") / Path(recipe).stem if out is None else out
        recipe = load_recipe(Path(recipe))
    recipe = make_recipe(recipe.model_dump(mode="json"), [f"training.framework={FRAMEWORK}"])
    refuse_unsupported(recipe)
    target = use_device(recipe.training.accelerator)
    if out is not None:
        print(f"{out}: MindSpore on {target}", flush=True)
    return train_all(
        recipe, out, trials=trials, stage=stage, continue_with=continue_with, done=done, framework=framework_of
    )


def framework_of(recipe: Recipe, method: Method) -> Framework:
    """MindSpore as it trains a run of `recipe` whose torch method has the weights to start from."""
    from crossreid.mindspore.checkpoints import write_checkpoint
    from crossreid.mindspore.state import initial_mindspore_state, train_step
    from crossreid.mindspore.weights import build

    refuse_unsupported(recipe)  # again, as a run may go on with other keys than its recipe's
    classes = classes_of(method)
    cell = build(recipe, classes)

    def save(path: Path, checkpoint: Checkpoint) -> None:
        # First what is read beside it: a run that is killed in between writes both anew.
        write_checkpoint(path.with_suffix(".ckpt"), cell, recipe, classes, checkpoint.facts)
        save_checkpoint(path, checkpoint)

    return Framework(functools.partial(initial_mindspore_state, cell), train_step, save)


def classes_of(method: Method) -> int:
    """How many training identities a three-branch method tells apart."""
    branches: Any = method.branches
    branch = next(iter(branches.values()))
    return int(branch.v_classifier.weight.shape[0])
