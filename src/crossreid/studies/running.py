"""Studies run: every cell and seed a run of its own, several at a time where there are devices, resumable run by run.

A study's folder holds CELL/seed-K (ordinary runs, with results.json once done), table.json, table.md and the figure.
`python -m crossreid.studies.running RECIPE RUN` does one run; the study's process only starts those, and sums up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking import KReciprocal, Reranking
from crossreid.evaluation.scores import Score
from crossreid.files import write_json, write_text
from crossreid.losses.information import Estimator
from crossreid.runs.recipe import Recipe, load_recipe
from crossreid.runs.run import Run, open_run
from crossreid.runs.scoring import (
    comparisons,
    embed_compared,
    embed_features,
    score_features,
    score_sets,
    space_features,
)
from crossreid.runs.train import train
from crossreid.studies.estimators import VALUES, Estimate, estimate, grid
from crossreid.studies.idkl import PLAIN, RERANKED
from crossreid.studies.study import COLUMNS, Cell, Study, cell_recipe
from crossreid.terminal import progress_bar, tracked
from crossreid.training.signals import Interrupted, stop_signals

SPACES = ("v", "z", "both")
FIGURES = ("rank-1", "mAP", "mINP")


@dataclass(frozen=True, slots=True)
class Job:
    """One cell with one seed, and the folder that it trains into."""

    cell: Cell
    seed: int
    recipe: Recipe
    folder: Path
    needs: tuple[Path, ...] = ()

    @property
    def results(self) -> Path:
        return self.folder / "results.json"


class StudyError(CrossreidError):
    """A study that cannot be run or summed up; the message names the runs and what to do."""


def run_study(
    base: Recipe,
    study: Study,
    out: Path,
    *,
    seeds: Sequence[int],
    jobs: int | None = None,
    rival: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Run what is not done yet of `study` into `out`, and sum up what is there: the content of table.json.

    Args:
        seeds: each is a run of every cell; their spread is the uncertainty that the table gives.
        jobs: runs at a time: by default one a GPU, without GPUs one.
        rival: `METHOD.KEY` to value, for keys that the base recipe's method does not have.
        only: keys of the cells to run; all where empty.

    Raises:
        StudyError: runs of another recipe are there, an unknown cell is named, or a run failed; the rest was done.
    """
    if unknown := set(only) - {cell.key for cell in study.cells}:
        raise StudyError(
            f"no cell {', '.join(sorted(unknown))} in this study. Known: {', '.join(cell.key for cell in study.cells)}."
        )
    if not seeds:
        raise StudyError("expected one seed or more.")
    wanted = set(only) or {cell.key for cell in study.cells}
    for cell in reversed(study.cells):  # none needs a later one
        if cell.key in wanted:
            wanted |= cell.needs

    def job_of(cell: Cell, seed: int) -> Job:
        recipe = (
            study.recipe(base, cell, seed, out) if study.recipe else cell_recipe(base, cell, seed, rival)
        )  # fmt: skip
        needs = tuple(out / key / f"seed-{seed}" / "results.json" for key in cell.needs)
        return Job(cell, seed, recipe, out / cell.key / f"seed-{seed}", needs)

    planned = [job_of(cell, seed) for seed in seeds for cell in study.cells if cell.key in wanted]
    for job in planned:
        _refuse_other_recipe(job)
    pending = [job for job in planned if not job.results.is_file()]
    failed = _run_all(pending, jobs, done=len(planned) - len(pending))
    summed = summary(study, out)
    write_json(out / "table.json", summed)
    if failed:
        lines = "\n".join(f"  {job.folder}: {_last_line(job)}" for job in failed)
        raise StudyError(f"{len(failed)} of {len(pending)} runs failed; the same command does them again.\n{lines}")
    return summed


def _refuse_other_recipe(job: Job) -> None:
    there = job.folder / "recipe.yaml"
    if there.is_file() and load_recipe(there) != job.recipe:
        raise StudyError(
            f"{job.folder} is a run of another recipe. Choose another folder with --out, or delete that run."
        )


def slots(jobs: int | None) -> list[dict[str, str]]:
    """The environment of each place that runs one job at a time: a GPU, or a share of the cores.

    OMP_NUM_THREADS, where it is set, is kept; of GPUs only those are used that this process sees.
    """
    devices = torch.cuda.device_count()
    count = jobs or max(devices, 1)
    if devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(device) for device in range(devices)]
        return [{"CUDA_VISIBLE_DEVICES": names[place % devices].strip()} for place in range(count)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    return [{"OMP_NUM_THREADS": threads} for _ in range(count)]


def _run_all(pending: list[Job], jobs: int | None, *, done: int) -> list[Job]:
    """Run the jobs, each a process of its own; those that failed."""
    waiting, failed = list(pending), []
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    places = slots(jobs)
    with stop_signals() as received, progress_bar() as bar:
        task = bar.add_task("runs", total=done + len(pending), completed=done)
        while (waiting or running) and not received:
            for place, environment in enumerate(places):
                ready = next((job for job in waiting if all(path.is_file() for path in job.needs)), None)
                if place not in running and ready is not None:
                    waiting.remove(ready)
                    running[place] = ready, _start(ready, environment)
            if not running:
                failed += waiting  # what they need has failed
                break
            bar.update(task, description=", ".join(str(job.folder) for job, _ in running.values()))
            for place, (job, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[place]
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


def _start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    arguments = _written(job)
    with open(_log(job), "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "crossreid.studies.running", *arguments],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches the study alone, which passes it on once
        )  # fmt: skip


def _written(job: Job) -> list[str]:
    """What `main` is told of a job, whose recipe is written beside its folder."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    wanted = job.folder.with_name(f"{job.folder.name}.yaml")
    write_text(wanted, job.recipe.as_yaml())
    return [str(wanted), str(job.folder)]


def _log(job: Job) -> Path:
    return job.folder.with_name(f"{job.folder.name}.log")


def _last_line(job: Job) -> str:
    if not _log(job).is_file():
        return "not begun: a run that it needs has failed"
    lines = [line.strip() for line in _log(job).read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "ended without a word")


def train_and_score(recipe: Recipe, folder: Path) -> None:
    """One run of a study: train or go on, then write results.json."""
    start = time.perf_counter()
    result = train(recipe, folder)
    spent = time.perf_counter() - start
    run = open_run(folder)
    scores = score_spaces(run)
    facts = {"steps": result.steps, "validation": result.best, "seconds": round(spent, 1)}
    write_json(folder / "results.json", {**facts, "scores": {name: score.to_json() for name, score in scores.items()}})


def score_spaces(run: Run) -> dict[str, Score]:
    """The scores of a run in the protocol's first setting: of its test features, not re-ranked and re-ranked; of a method
    with branches also of v, of z and of both, all streams of each concatenated. Of sets of images, of each comparison."""
    if comparisons(run.split, run.recipe):
        return {
            s.setting: s for s in score_sets(embed_compared(run.method, run.split, run.recipe), run.split, run.recipe)
        }
    setting = PROTOCOLS[run.split.protocol].settings[0].name

    def score(features: Features, rerank: Reranking | None = None) -> Score:
        return score_features(features, run.split, run.recipe, settings=[setting], rerank=rerank)[0]

    tested = embed_features(run.method, run.split, run.recipe)
    scores = {PLAIN: score(tested), RERANKED: score(tested, KReciprocal())}
    if hasattr(run.method, "observe"):
        spaces = space_features(run.method, run.split, run.recipe)
        scores |= {name: score(spaces[name]) for name in SPACES}
    return scores


def summary(study: Study, out: Path) -> dict[str, Any]:
    """The table of what is done: of each cell and space the figures of each seed, in the order of the study."""
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for cell in study.cells:
        found = {}
        for path in sorted((out / cell.key).glob("seed-*/results.json")):
            found[int(path.parent.name.removeprefix("seed-"))] = json.loads(path.read_text(encoding="utf-8"))
        if not found:
            continue
        seeds = sorted(found)
        spaces = list(dict.fromkeys(space for space, _ in study.columns))
        if missing := [space for space in spaces if space not in found[seeds[0]]["scores"]]:
            known = ", ".join(found[seeds[0]]["scores"])
            raise StudyError(f"{out / cell.key}: no score of {missing[0]!r}; its runs have {known}.")
        scores = {space: [Score.from_json(found[seed]["scores"][space]) for seed in seeds] for space in spaces}
        rows.append(
            {
                "key": cell.key, "title": cell.title, "group": cell.group, "method": cell.method, "place": cell.place,
                "published": dict(cell.published) if cell.published else None, "seeds": seeds,
                "seconds": [found[seed]["seconds"] for seed in seeds],
                "validation": [found[seed]["validation"] for seed in seeds],
                "figures": {
                    space: {name: [score.value(name) for score in each] for name in FIGURES}
                    for space, each in scores.items()
                },
            }
        )  # fmt: skip
        first = scores[spaces[0]][0]
        about = {"protocol": first.protocol, "setting": first.setting, "chance": first.chance_rank1}
    return {
        "study": study.name,
        "title": study.title,
        "axis": study.axis,
        "reference": study.reference,
        **({} if study.columns == COLUMNS else {"columns": study.columns, "compared": study.compared}),
        **about,
        "rows": rows,
    }


def _stop_with_the_study() -> None:
    """The study holds the other end of standard input: once it is gone, however it went, this run stops too."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def run_estimators(
    out: Path, *, seeds: Sequence[int], jobs: int = 1, steps: int = 2000, values: Sequence[float] = VALUES
) -> list[dict[str, Any]]:
    """Train what is missing of every estimator's critics and write estimators.json after each; its rows."""
    path = out / "estimators.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["estimates"] if path.is_file() else []
    done = {(r["estimator"], r["dimension"], r["truth"], r["seed"]) for r in rows if r["steps"] == steps}
    rows = [row for row in rows if row["steps"] == steps]
    missing = [cell for cell in grid(seeds, values) if cell not in done]
    found = Parallel(jobs, return_as="generator")(
        delayed(_estimated)(kind, size, value, seed, steps) for kind, size, value, seed in missing
    )
    for row in tracked(found, "critics", len(missing)):
        rows.append(row.to_json())
        write_json(path, {"estimates": rows})
    return rows


def _estimated(kind: Estimator, size: int, value: float, seed: int, steps: int) -> Estimate:
    torch.set_num_threads(1)  # batches are small: a thread more costs more than it gives
    return estimate(kind, size, value, seed=seed, steps=steps)


def main(arguments: Sequence[str]) -> None:
    recipe, folder = arguments
    threading.Thread(target=_stop_with_the_study, daemon=True).start()
    try:
        train_and_score(load_recipe(Path(recipe)), Path(folder))
    except Interrupted as interrupt:
        sys.exit(128 + interrupt.signal_number)


if __name__ == "__main__":
    main(sys.argv[1:])
