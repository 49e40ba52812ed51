"""One run of a study, as a separate process: `python -m crossreid.studies.one_run RECIPE RUN [DATA]` trains and scores
it.

RECIPE is the file of the run's recipe, RUN its folder, which holds results.json once everything is done. A recipe with
a teacher is the runs of its stages in RUN/teacher, RUN/student ...; the last student is scored. DATA is the file of the
data section that it is scored on, if not its recipe's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from crossreid.data.data_options import DataOptions
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.reranking_options import KReciprocal, Reranking
from crossreid.evaluation.scores import Score
from crossreid.files import write_json
from crossreid.runs.folders import runs_in
from crossreid.runs.other_data import OtherData
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
from crossreid.runs.yaml_text import read_yaml
from crossreid.studies.study import PLAIN, RERANKED, SPACES
from crossreid.training.loop import FitResult
from crossreid.training.signals import Interrupted


def train_and_score(recipe: Recipe, folder: Path, tested: DataOptions | None = None) -> None:
    """Train or resume, then write results.json: the scores, and the steps and seconds over all stages."""
    start = time.perf_counter()
    results: list[FitResult] = []
    train(recipe, folder, done=lambda _, result: results.append(result))
    spent = time.perf_counter() - start
    on = None if tested is None or tested == recipe.data else OtherData(section=tested)
    scores = score_spaces(open_run(runs_in(folder)[-1], on=on))
    facts = {
        "steps": sum(result.steps for result in results),
        "validation": results[-1].best,
        "seconds": round(spent, 1),
    }
    write_json(folder / "results.json", {**facts, "scores": {name: score.to_json() for name, score in scores.items()}})


def score_spaces(run: Run) -> dict[str, Score]:
    """Return a run's scores in the protocol's first setting: of its test features, with and without re-ranking; for a
    method with branches also of v, of z and of both, with all streams concatenated. For sets of images, scores of each
    comparison."""
    if comparisons(run.split, run.recipe):
        compared = embed_compared(run.method, run.split, run.recipe)
        return {score.setting: score for score in score_sets(compared, run.split, run.recipe)}
    setting = PROTOCOLS[run.split.protocol].settings[0].name

    def score(features: Features, rerank: Reranking | None = None) -> Score:
        return score_features(features, run.split, run.recipe, settings=[setting], rerank=rerank)[0]

    tested = embed_features(run.method, run.split, run.recipe)
    scores = {PLAIN: score(tested), RERANKED: score(tested, KReciprocal())}
    if hasattr(run.method, "observe"):
        spaces = space_features(run.method, run.split, run.recipe)
        scores |= {name: score(spaces[name]) for name in SPACES}
    return scores


def run_by(arguments: Sequence[str]) -> None:
    """Train and score with the command's arguments, as `running.write_recipe` returns them."""
    recipe, folder, *rest = map(Path, arguments)
    tested = DataOptions.model_validate(read_yaml(rest[0].read_text(encoding="utf-8"))) if rest else None
    train_and_score(load_recipe(recipe), folder, tested)


def main(arguments: Sequence[str]) -> None:
    threading.Thread(target=_stop_with_the_study, daemon=True).start()
    try:
        run_by(arguments)
    except Interrupted as interrupt:
        sys.exit(128 + interrupt.signal_number)


def _stop_with_the_study() -> None:
    """Stop with the study, which holds the other end of standard input: once it is gone, this run stops too."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
