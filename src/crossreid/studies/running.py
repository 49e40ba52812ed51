"""The runner of studies: every cell and seed a run of its own, several at a time where there are devices, resumable.

A study's folder holds CELL/seed-K (ordinary runs, with results.json once done), table.json, table.md and the figure.
The study's process only starts the runs (`crossreid.studies.one_run`), each a process, and sums up.
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
    """One cell with one seed, and the folder that it trains into; `needs` are the results of the runs it waits for.

    `tested` is the recipe whose data it is scored on, where that is not its own.
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
        """What the run's process printed; beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def recipe_file(self) -> Path:
        """The recipe that the run's process is to read; beside its folder."""
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
    """Run what is not done yet of `study` into `out`, and sum up what is there: the content of table.json.

    Backbones that start from weights have a row of their own, as they are before any training.

    Args:
        seeds: each is a run of every cell; their spread is the uncertainty that the table gives.
        jobs: runs at a time: by default one per GPU, without GPUs one.
        only: keys of the cells to run; all where empty.

    Raises:
        StudyError: runs of another recipe are there, an unknown cell is named, or a run failed; the rest was done.
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
        raise StudyError(f"{len(failed)} of {len(pending)} runs failed; the same command does them again.\n{lines}")
    return summed


def plan(base: Recipe, study: Study, out: Path, seeds: Sequence[int], only: Sequence[str] = ()) -> list[Job]:
    """The jobs of the cells `only`, or of all, and of the cells whose runs these need; the first seed of all first.

    Raises:
        StudyError: an unknown cell is named, or no seed is given.
        RecipeError: no recipe of a cell can be made from `base`.
    """
    keys = [cell.key for cell in study.cells]
    if unknown := set(only) - set(keys):
        raise StudyError(f"no cell {', '.join(sorted(unknown))} in this study. Known: {', '.join(keys)}.")
    if not seeds:
        raise StudyError("expected one seed or more.")
    wanted = set(only or keys)
    for cell in reversed(study.cells):  # none needs a later one
        if cell.key in wanted:
            wanted |= cell.needs

    def job_of(cell: Cell, seed: int) -> Job:
        needs = tuple(out / key / f"seed-{seed}" / "results.json" for key in cell.needs)
        recipe = study.recipe(base, cell, seed, out)
        tested = None if study.tested is None else recipe.model_copy(update={"data": study.tested(base, cell)})
        return Job(cell, seed, recipe, out / cell.key / f"seed-{seed}", needs, tested)

    return [job_of(cell, seed) for seed in seeds for cell in study.cells if cell.key in wanted]


def _refuse_other_recipe(job: Job) -> None:
    """Raise where the folder holds runs that are not those of the job's recipe, or results without all of them."""
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
    """The environment of each slot that runs one job at a time: a GPU, or a share of the cores.

    OMP_NUM_THREADS, where it is set, is kept; of GPUs only those are used that this process sees.
    """
    devices = torch.cuda.device_count()
    count = jobs or max(devices, 1)
    if devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(device) for device in range(devices)]
        return [{"CUDA_VISIBLE_DEVICES": names[slot % devices].strip()} for slot in range(count)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    return [{"OMP_NUM_THREADS": threads} for _ in range(count)]


def _run_all(pending: list[Job], jobs: int | None, *, done: int) -> list[Job]:
    """Run the jobs, each a process of its own; those that failed."""
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
    """The job's process, with its recipe written to `job.recipe_file` and what it prints to `job.log`."""
    arguments = write_recipe(job)
    with open(job.log, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "crossreid.studies.one_run", *arguments],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches the study alone, which passes it on once
        )  # fmt: skip


def write_recipe(job: Job) -> list[str]:
    """Write `job.recipe_file`, and the data that it is tested on where they are others.

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
        return "not begun: a run that it needs has failed"
    lines = [line.strip() for line in job.log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "ended without a word")
