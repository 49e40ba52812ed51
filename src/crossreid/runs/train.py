"""Train by a recipe: one run, or all runs that the recipe stands for. Data, method and training loop meet here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from crossreid.data.pixel_cache import cache_of
from crossreid.data.records import Split
from crossreid.data.training_loading import TrainLoader
from crossreid.errors import CrossreidError
from crossreid.files import key_values, write_json, write_text
from crossreid.methods import without_download
from crossreid.methods.method import Method
from crossreid.methods.view_distillation import ViewDistillation
from crossreid.models.loading_notes import noted
from crossreid.runs.earlier import as_it_was
from crossreid.runs.evaluate import VALIDATED, validation_scores
from crossreid.runs.faults import RecipeError
from crossreid.runs.plan import plan_of
from crossreid.runs.recipe import Recipe, load_recipe, make_recipe, pixels_as_text
from crossreid.runs.run import fresh_method, open_split, with_cameras
from crossreid.runs.source_runs import monitored, validated, write_views
from crossreid.runs.starting import START, Started, started_method
from crossreid.runs.teacher_student import prepare_student, stage_recipes
from crossreid.training.changes import OPTION, present_names, refuse_request
from crossreid.training.folder import LAST
from crossreid.training.framework import TORCH, Framework
from crossreid.training.loop import FitResult, fit
from crossreid.training.processes import make_fabric

InFramework = Callable[[Recipe, Method], Framework]


def train(
    recipe: Recipe | Path | str,
    out: Path | str | None = None,
    *,
    trials: Sequence[int] = (),
    stage: str | None = None,
    continue_with: Sequence[str] = (),
    done: Callable[[Path, FitResult], object] | None = None,
    framework: InFramework | None = None,
) -> FitResult:
    """Train all runs that `recipe` stands for into the folder `out`, or resume what is there.

    An ordinary recipe is one run, in `out` itself. One with a `teacher` section is one run for the teacher and one per
    generation of students, in OUT/teacher, OUT/student, OUT/student-2 ... With `trials` it is one run per RegDB trial,
    in OUT/trial-1 ...

    Args:
        recipe: a recipe, or the path of its YAML file.
        out: runs/NAME by default, for a recipe file of that name.
        trials: numbers of trials, 1 to 10.
        stage: `teacher` or `student`, to train only that stage.
        continue_with: `key=value` overrides with which a run in progress continues from its last checkpoint, although
            they change the steps to come: the learning rate, its schedule, clipping, precision, what is frozen.
        done: called with each run's folder and result when it ends.
        framework: makes what computes a run from its recipe and its initial method; torch if None.

    Returns:
        The result of the last run.

    Raises:
        CrossreidError: a recipe, data set, teacher or run cannot be used as it is; the message says why.
        Interrupted: the process was asked to stop, and a checkpoint was written.
    """
    if not isinstance(recipe, Recipe):
        out = Path("runs") / Path(recipe).stem if out is None else out
        recipe = load_recipe(Path(recipe))
    if out is None:
        raise CrossreidError(
            "train: expected `out`, the folder of the run, because the recipe has no file to name it after."
        )
    asked = present_names(key.removeprefix("teacher.") for key in key_values(continue_with, OPTION))
    refuse_request(asked)
    if continue_with:
        recipe = make_recipe(recipe.model_dump(mode="json"), continue_with, source=OPTION)
    folder = Path(out)
    jobs = [(recipe, folder)]
    if trials:
        jobs = [(_of_trial(recipe, trial), folder / f"trial-{trial}") for trial in trials]
    planned = [run for own, place in jobs for run in stage_recipes(own, place, stage)]
    for place, own in planned:
        result = train_run(own, place, continue_with=asked, framework=framework)
        if done is not None:
            done(place, result)
    return result


def train_run(
    recipe: Recipe, out: Path, *, continue_with: Collection[str] = (), framework: InFramework | None = None
) -> FitResult:
    """Train one run by `recipe`, whose teacher is already trained, into the folder `out`, or resume it.

    Validation uses the data set's protocol on its validation identities, if it has any; the best checkpoint is the one
    with the highest `training.monitor`, or the last if there is nothing to validate on. Several data sets are validated
    one by one, and the mean over them is reported under the figure's plain name.

    Args:
        continue_with: keys that may differ from those of the existing run although they change the steps to come.
        framework: as in `train`.

    Raises:
        CrossreidError: the recipe has a `teacher` section, which stands for several runs, or names another framework
            than the one passed in.
    """
    if recipe.teacher is not None:
        raise CrossreidError(
            "train_run: the recipe has a `teacher` section, which stands for several runs. Use train()."
        )
    if framework is None and recipe.training.framework != "torch":
        raise CrossreidError(
            f"training.framework is {recipe.training.framework!r}, which this call does not support; expected torch. Use `crossreid "
            "train`, or crossreid.mindspore.training.train from Python."
        )
    split = open_split(recipe)
    recipe = with_cameras(recipe, split)
    if split.validation:
        _refuse_unknown_monitor(recipe.training.monitor, monitored(split, VALIDATED))
    # Another framework has its own devices: torch keeps its part of the run on the CPU.
    where = {} if framework is None else {"accelerator": "cpu"}
    fabric = make_fabric(recipe.training.model_copy(update=where))
    loader = TrainLoader(
        split.train,
        recipe.data,
        seed=recipe.training.seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
        device=fabric.device,
    )
    loader.prepare(shown=fabric.is_global_zero)
    # Held during training: it keeps decoded images in memory exactly that long.
    validation = cache_of(split.validation, recipe.data.cached, recipe.data.look, shown=fabric.is_global_zero)
    if fabric.is_global_zero:
        for note in split.notes:
            print(f"note: {note}", flush=True)
        print(f"{out}: {plan_of(recipe.data, recipe.training, loader.steps_in)}; {pixels_as_text(recipe)}", flush=True)
    with noted() as notes:
        method, started = _method(recipe, split, begun=(out / LAST).is_file())
    if fabric.is_global_zero:
        for note in notes:
            print(f"{out} {note}.", flush=True)
    if isinstance(method, ViewDistillation):
        prepare_student(method, recipe, split)
    if started is not None and fabric.is_global_zero:
        print(f"{out} {started.text}.", flush=True)

    def begin() -> None:
        write_text(out / "recipe.yaml", recipe.as_yaml())
        write_views(recipe, out)
        if started is not None:
            write_json(out / START, started.facts)

    result = fit(
        method,
        loader,
        steps_per_epoch=loader.steps_in,
        options=recipe.training,
        out=out,
        fabric=fabric,
        recipe=recipe.model_dump(mode="json"),
        validate=(lambda method: validated(method, split, recipe, validation_scores)) if split.validation else None,
        on_start=begin,
        count_images=lambda batch: batch.images.shape[:-3].numel(),  # all images of a set
        continue_with=continue_with,
        completed=_completed,
        framework=TORCH if framework is None else framework(recipe, method),
    )
    del validation
    if loader.bad_images and fabric.is_global_zero:
        print(f"{len(loader.bad_images)} unreadable training images were skipped; see the warnings above.")
    return result


def _refuse_unknown_monitor(monitor: str, known: Sequence[str]) -> None:
    if monitor not in known:
        near = difflib.get_close_matches(monitor, known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CrossreidError(
            f"training.monitor is {monitor!r}, expected one of {', '.join(known)}, the figures of validation.{guess}"
        )


def _method(recipe: Recipe, split: Split, *, begun: bool) -> tuple[Method, Started | None]:
    """Return the initial method and what it starts from; for a run already begun, the method without start weights."""
    if begun and recipe.start_from is not None:
        return fresh_method(recipe.model_copy(update={"method": without_download(recipe.method)}), split), None
    return started_method(recipe, split)


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored recipe with defaults for keys that are newer than it; unchanged if it is no longer valid."""
    try:
        return make_recipe(as_it_was(stored)).model_dump(mode="json")
    except RecipeError:
        return stored


def _of_trial(recipe: Recipe, trial: int) -> Recipe:
    if recipe.data.sources:
        raise CrossreidError(
            "--trials applies to one data set, but the recipe has several. Set the trial in each source's options."
        )
    data = recipe.data.model_copy(update={"options": {**recipe.data.options, "trial": trial}})
    start = recipe.start_from
    if start is not None and (start / f"trial-{trial}").is_dir():
        start = start / f"trial-{trial}"  # each trial starts from its own
    return recipe.model_copy(update={"data": data, "start_from": start})
