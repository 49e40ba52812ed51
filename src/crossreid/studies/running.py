"""The runner of studies: one run per cell and seed, several in parallel if there are devices, resumable.

A study's folder holds CELL/seed-K (ordinary runs, with results.json once done), table.json, table.md and the figure.
The study's process only starts the runs (`crossreid.studies.one_run`), one process each, and summarises them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from crossreid.files import write_json, write_text
from crossreid.processors import processors
from crossreid.runs.folders import stage_runs
from crossreid.runs.recipe import Recipe, recipe_of_run
from crossreid.runs.teacher_student import stage_recipes
from crossreid.studies.pretrained_rows import pretrained_rows
from crossreid.studies.study import Cell, Study, StudyError
from crossreid.studies.summary import summary
from crossreid.terminal import errors, progress_bar
from crossreid.training.signals import Interrupted, stop_signals


@dataclass(frozen=True, slots=True)
class Job:
    """One cell with one seed, and the folder that it trains into; `needs` are the results of the runs that it waits
    for.

    `tested` is the recipe whose data it is scored on, if not its own.
    """

    cell: Cell
    seed: int
    recipe: Recipe
    folder: Path
    needs: tuple[Path, ...] = ()
    tested: Recipe | None = None

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def log(self) -> Path:
        """The file of the run's output, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def recipe_file(self) -> Path:
        """The file of the run's recipe, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.yaml")


def run_study(
    base: Recipe,
    study: Study,
    out: Path,
    *,
    seeds: Sequence[int],
    jobs: int | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Run what is missing of `study` into `out`, and summarise what is there: return the content of table.json.

    Backbones that start from weights get a row of their own, before any training.

    Args:
        seeds: every cell is run once per seed; their spread is the uncertainty in the table.
        jobs: runs in parallel: by default one per GPU, or one without GPUs.
        only: keys of the cells to run; all if empty.

    Raises:
        StudyError: there are runs of another recipe, a cell is unknown, or a run failed; the other runs were done.
    """
    planned = plan(base, study, out, seeds, only)
    for job in planned:
        _refuse_other_recipe(job)
    pending = [job for job in planned if not job.results.is_file()]
    failed = _run_all(pending, jobs, done=len(planned) - len(pending))
    summed = summary(study, out)
    summed["rows"] += pretrained_rows(
        [(job.cell, job.tested or job.recipe) for job in planned], summed, out, errors.print
    )
    write_json(out / "table.json", summed)
    if failed:
        lines = "\n".join(f"  {job.folder}: {_last_line(job)}" for job in failed)
        raise StudyError(f"{len(failed)} of {len(pending)} runs failed; run the same command to repeat them.\n{lines}")
    return summed


def plan(base: Recipe, study: Study, out: Path, seeds: Sequence[int], only: Sequence[str] = ()) -> list[Job]:
    """Return the jobs of the cells `only`, or of all, and of the cells that these need; the first seed of all first.

    Raises:
        StudyError: a cell is unknown, or no seed is given.
        RecipeError: a cell's recipe cannot be made from `base`.
    """
    keys = [cell.key for cell in study.cells]
    if unknown := set(only) - set(keys):
        raise StudyError(f"no cell {', '.join(sorted(unknown))} in this study. Known: {', '.join(keys)}.")
    if not seeds:
        raise StudyError("expected at least one seed.")
    wanted = set(only or keys)
    for cell in reversed(study.cells):  # no cell needs a later one
        if cell.key in wanted:
            wanted |= cell.needs

    def job_of(cell: Cell, seed: int) -> Job:
        needs = tuple(out / key / f"seed-{seed}" / "results.json" for key in cell.needs)
        recipe = study.recipe(base, cell, seed, out)
        tested = None if study.tested is None else recipe.model_copy(update={"data": study.tested(base, cell)})
        return Job(cell, seed, recipe, out / cell.key / f"seed-{seed}", needs, tested)

    return [job_of(cell, seed) for seed in seeds for cell in study.cells if cell.key in wanted]


def _refuse_other_recipe(job: Job) -> None:
    """Raise if the folder has runs of another recipe than the job's, or results without all of its runs."""
    planned = dict(stage_recipes(job.recipe, job.folder))
    there = stage_runs(job.folder)
    if (job.folder / "recipe.yaml").is_file():
        there = [job.folder]
    other = any(run not in planned or recipe_of_run(run) != planned[run] for run in there)
    if other or (there and job.results.is_file() and len(there) < len(planned)):
        raise StudyError(
            f"{job.folder} is a run of another recipe. Choose another folder with --out, or delete that run."
        )


def slots(jobs: int | None) -> list[dict[str, str]]:
    """Return the environment of each slot, which runs one job at a time: a GPU, or a share of the cores.

    OMP_NUM_THREADS is kept if set; only GPUs visible to this process are used.
    """
    devices = torch.cuda.device_count()
    count = jobs or max(devices, 1)
    if devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(device) for device in range(devices)]
        return [{"CUDA_VISIBLE_DEVICES": names[slot % devices].strip()} for slot in range(count)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, processors() // count))
    return [{"OMP_NUM_THREADS": threads} for _ in range(count)]


def _run_all(pending: list[Job], jobs: int | None, *, done: int) -> list[Job]:
    """Run the jobs, each as a separate process, and return those that failed."""
    waiting, failed = list(pending), []
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}  # by slot
    environments = slots(jobs)
    with stop_signals() as received, progress_bar() as bar:
        task = bar.add_task("runs", total=done + len(pending), completed=done)
        while (waiting or running) and not received:
            for slot, environment in enumerate(environments):
                ready = next((job for job in waiting if all(path.is_file() for path in job.needs)), None)
                if slot not in running and ready is not None:
                    waiting.remove(ready)
                    running[slot] = ready, start(ready, environment)
            if not running:
                failed += waiting  # what they need has failed
                break
            bar.update(task, description=", ".join(str(job.folder) for job, _ in running.values()))
            for slot, (job, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                bar.advance(task)
                if process.returncode or not job.results.is_file():
                    failed.append(job)
            time.sleep(0.2)
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)  # each writes a checkpoint first
        for _, process in running.values():
            process.wait()
        if received:
            raise Interrupted(received[0])
    return failed


def start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the job's process, with its recipe written to `job.recipe_file` and its output to `job.log`."""
    arguments = write_recipe(job)
    with open(job.log, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "crossreid.studies.one_run", *arguments],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches only the study, which passes it on once
        )  # fmt: skip


def write_recipe(job: Job) -> list[str]:
    """Write `job.recipe_file`, and the test data if they differ.

    Returns:
        The arguments of `crossreid.studies.one_run`.
    """
    write_text(job.recipe_file, job.recipe.as_yaml())
    arguments = [str(job.recipe_file), str(job.folder)]
    if job.tested is None:
        return arguments
    tested = job.folder.with_name(f"{job.folder.name}.tested.yaml")
    write_text(tested, yaml.safe_dump(job.tested.data.model_dump(mode="json"), sort_keys=False))
    return [*arguments, str(tested)]


def _last_line(job: Job) -> str:
    if not job.log.is_file():
        return "not started: a run that it needs has failed"
    lines = [line.strip() for line in job.log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "ended without output")
