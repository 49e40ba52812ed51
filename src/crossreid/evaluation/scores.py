"""Scores: the output of an evaluation, always with how they were obtained.

Fractions in [0, 1] everywhere except in `table`, which prints percentages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.measures import Ranking
from crossreid.evaluation.published import published_for
from crossreid.evaluation.query_scores import QueryScores
from crossreid.terminal import FigureTable

RANKS = (1, 5, 10, 20)
KEYS = (*(f"rank-{k}" for k in RANKS), "mAP", "mINP")


@dataclass(frozen=True, eq=False)
class TrialScore:
    """One trial: its number in the protocol, the CMC curve `(positions,)`, and the means over valid queries."""

    trial: int
    cmc: np.ndarray
    mAP: float
    mINP: float
    valid_queries: int
    skipped_queries: int
    chance_rank1: float
    open_set: Mapping[str, float] = field(default_factory=dict)

    def rank(self, k: int) -> float:
        """Return the share of valid queries with a match among the first k; beyond the curve's end, its last value."""
        if k < 1:
            raise CrossreidError(f"ranks start at 1, found {k}.")
        return float(self.cmc[min(k, len(self.cmc)) - 1])

    def value(self, key: str) -> float:
        """Return the figure named by a key of `KEYS`, or any other 'rank-K'."""
        if key in ("mAP", "mINP"):
            return float(getattr(self, key))
        prefix, _, number = key.partition("-")
        if prefix != "rank" or not number.isdecimal():
            raise CrossreidError(f"unknown figure '{key}'; expected mAP, mINP or rank-K.")
        return self.rank(int(number))

    def to_json(self) -> dict[str, Any]:
        return {
            "trial": self.trial,
            **{key: self.value(key) for key in KEYS},
            "valid_queries": self.valid_queries,
            "skipped_queries": self.skipped_queries,
            "chance-rank-1": self.chance_rank1,
            "cmc": self.cmc.tolist(),
            **({"open-set": dict(self.open_set)} if self.open_set else {}),
        }


def trial_score(ranking: Ranking, trial: int, open_set: Mapping[str, float] | None = None) -> TrialScore:
    """Return the means of a ranking over its valid queries. Raises `DataError` if no query has a match."""
    valid = int(np.count_nonzero(ranking.valid))
    if not valid:
        raise DataError(
            f"none of the {ranking.skipped} queries has a match in the gallery; "
            "check that query and gallery name the same identities, and the exclusion rule."
        )
    return TrialScore(
        trial, ranking.cmc, ranking.mAP, ranking.mINP, valid, ranking.skipped, ranking.chance_rank1, open_set or {}
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Score:
    """One setting of one protocol: the trials, and everything that must be quoted with a figure.

    `same_gallery`: all draws of the gallery are the same images, because there are no more than are drawn, so trials do
    not differ. `each` holds the individual queries of each model; empty if the score was read from a file. For a run,
    `checkpoint` names the file of its weights if it is not that of the best; `trained` says how far training got, if
    unfinished; `official` whether it was tested on the published test set (None: unknown); `file` is where it was
    written.
    """

    protocol: str
    setting: str
    metric: str
    exclusion: str
    gallery_draw: str
    counting: str
    trials: tuple[TrialScore, ...]
    average_precision: str = "steps"
    re_ranked: str = "no"
    normalised: str = "no"
    same_gallery: bool = False
    each: tuple[QueryScores, ...] = ()
    checkpoint: str = ""
    trained: str = ""
    official: bool | None = None
    file: str = ""

    def __post_init__(self) -> None:
        if not self.trials:
            raise CrossreidError(f"{self.protocol}, {self.setting}: a score needs at least one trial.")

    def value(self, key: str) -> float:
        """Return the mean over the trials of 'rank-K', 'mAP' or 'mINP'."""
        return float(np.mean([trial.value(key) for trial in self.trials]))

    def spread(self, key: str) -> float:
        """Return the standard deviation over the trials (dividing by their number; 0 for one trial)."""
        return float(np.std([trial.value(key) for trial in self.trials]))

    def rank(self, k: int) -> float:
        return self.value(f"rank-{k}")

    @property
    def mAP(self) -> float:
        return self.value("mAP")

    @property
    def mINP(self) -> float:
        return self.value("mINP")

    @property
    def cmc(self) -> np.ndarray:
        """Return the mean curve over the trials; a shorter one is extended with its last value."""
        length = max(len(trial.cmc) for trial in self.trials)
        return np.mean([np.pad(t.cmc, (0, length - len(t.cmc)), mode="edge") for t in self.trials], axis=0)

    @property
    def valid_queries(self) -> int:
        """Return the number of queries with a match per trial; if trials differ, the rounded mean."""
        return round(float(np.mean([trial.valid_queries for trial in self.trials])))

    @property
    def skipped_queries(self) -> int:
        """Return the number of queries without a match per trial; if trials differ, the mean rounded up."""
        return math.ceil(float(np.mean([trial.skipped_queries for trial in self.trials])))

    @property
    def chance_rank1(self) -> float:
        """Return the expected rank-1 of a random order under the same rules, mean over the trials."""
        return float(np.mean([trial.chance_rank1 for trial in self.trials]))

    @property
    def open_set(self) -> dict[str, float]:
        """Return the means over the trials of open-set figures, by name; empty for other protocols."""
        return {key: float(np.mean([t.open_set[key] for t in self.trials])) for key in self.trials[0].open_set}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dump`: fractions averaged over the trials, the trials, and the conditions."""
        return {
            "protocol": self.protocol,
            "setting": self.setting,
            **{key: self.value(key) for key in KEYS},
            "spread": {key: self.spread(key) for key in KEYS},
            "valid_queries": self.valid_queries,
            "skipped_queries": self.skipped_queries,
            "chance-rank-1": self.chance_rank1,
            "metric": self.metric,
            "exclusion": self.exclusion,
            "counting": self.counting,
            "gallery_draw": self.gallery_draw,
            "average-precision": self.average_precision,
            "re-ranked": self.re_ranked,
            "normalised": self.normalised,
            **({"same-gallery": True} if self.same_gallery else {}),
            **({"checkpoint": self.checkpoint} if self.checkpoint else {}),
            **({"trained": self.trained} if self.trained else {}),
            **({"open-set": self.open_set} if self.open_set else {}),
            "trials": [trial.to_json() for trial in self.trials],
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> Score:
        """Read what `to_json` returned. Raises `CrossreidError` naming the first missing key."""
        try:
            trials = tuple(
                TrialScore(
                    trial=int(t["trial"]),
                    cmc=np.array(t["cmc"], dtype=np.float64),
                    mAP=float(t["mAP"]),
                    mINP=float(t["mINP"]),
                    valid_queries=int(t["valid_queries"]),
                    skipped_queries=int(t["skipped_queries"]),
                    chance_rank1=float(t["chance-rank-1"]),
                    open_set=dict(t.get("open-set", {})),
                )
                for t in values["trials"]
            )
            names = ("protocol", "setting", "metric", "exclusion", "gallery_draw", "counting")
            named: dict[str, Any] = {name: str(values[name]) for name in names}
            return Score(
                **named,
                trials=trials,
                average_precision=str(values["average-precision"]),
                re_ranked=str(values["re-ranked"]),
                normalised=str(values["normalised"]),
                same_gallery=bool(values.get("same-gallery", False)),
                checkpoint=str(values.get("checkpoint", "")),
                trained=str(values.get("trained", "")),
            )
        except KeyError as error:
            raise CrossreidError(
                f"not a score: the key {error} is missing; expected what `Score.to_json` writes."
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise CrossreidError(f"not a score ({error}); expected what `Score.to_json` writes.") from error

    def __str__(self) -> str:
        figures = ", ".join(f"{key} {_percent(self.value(key), self.spread(key), len(self.trials))}" for key in KEYS)
        return f"{self.protocol}, {self.setting}: {figures} (percent; {conditions(self)})"


def conditions(score: Score) -> str:
    """Return one line on how a score was obtained: metric, exclusion, counting, draw, trials, skipped, re-ranking."""
    trials = len(score.trials)
    return (
        f"{score.metric} distance, exclusion: {score.exclusion}, CMC counts {score.counting}, "
        f"gallery: {score.gallery_draw}, {trials} trial{'s' if trials > 1 else ''}"
        f"{' that are identical, because each draw takes all images' if score.same_gallery else ''}, "
        f"{score.valid_queries} {'query' if score.valid_queries == 1 else 'queries'} and {score.skipped_queries} skipped (no match), "
        f"chance rank-1 {_percent(score.chance_rank1)}, AP by {score.average_precision}"
        + (f", distances normalised by {score.normalised}" if score.normalised != "no" else "")
        + (f", re-ranked: {score.re_ranked}" if score.re_ranked != "no" else ", not re-ranked")
        + "".join(f", {key} {_percent(value)}" for key, value in score.open_set.items())
        + (f", weights: {score.checkpoint}" if score.checkpoint else "")
        + (f", {score.trained.upper()}" if score.trained else "")
    )


def combine(scores: Sequence[Score]) -> Score:
    """Combine the trials of several scores into one, each trial with its own model (RegDB).

    Raises `CrossreidError` if they differ in protocol, setting or procedure, or a trial occurs twice.
    """
    if not scores:
        raise CrossreidError("no scores to combine.")
    for name in (
        "protocol",
        "setting",
        "metric",
        "exclusion",
        "counting",
        "gallery_draw",
        "average_precision",
        "re_ranked",
        "normalised",
    ):
        found = list(dict.fromkeys(str(getattr(score, name)) for score in scores))
        if len(found) > 1:
            raise CrossreidError(f"scores to combine must agree in {name}; found: {'; '.join(found)}.")
    trials = sorted((trial for score in scores for trial in score.trials), key=lambda trial: trial.trial)
    numbers = [trial.trial for trial in trials]
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise CrossreidError(f"trial {twice} occurs more than once among the scores to combine.")
    together: dict[str, Any] = {
        name: "; ".join(dict.fromkeys(str(value) for score in scores if (value := getattr(score, name))))
        for name in ("checkpoint", "trained")
    }
    return replace(scores[0], trials=tuple(trials), each=tuple(part for s in scores for part in s.each), **together)


def table(scores: Iterable[Score], published: bool = True, names: Sequence[str] | None = None) -> FigureTable:
    """Return scores in percent, mean with the spread over trials, with the published figures of each setting below.

    It fits any width; `names`, one per score, replace the protocol's name. Published figures are left out if the test
    is known to differ. How each score was obtained and the sources of published figures are listed below it.
    """
    scores = list(scores)
    titles = [score.protocol for score in scores] if names is None else list(names)
    notes = [f"{score.protocol}, {score.setting}: {conditions(score)}." for score in scores]
    view = FigureTable("Scores (percent)", ["setting", *KEYS], justify="center")
    for title, score in zip(titles, scores, strict=True):
        figures = [_percent(score.value(key), score.spread(key), len(score.trials), "\n") for key in KEYS]
        stopped = f"\n{score.trained.partition(':')[0].replace(', ', chr(10))}" if score.trained else ""
        view.add_row(f"{title}\n{score.setting}{stopped}", *figures, style="bold")
        for known in published_for(score.protocol, score.setting) if published and score.official is not False else ():
            cells = ["" if (value := known.values.get(key)) is None else _percent(value) for key in KEYS]
            view.add_row(f"published: {known.method}", *cells, style="dim")
            notes.append(f"published, {known.method}: {known.source}.")
        view.add_section()
    view.caption = "\n".join(dict.fromkeys(notes))
    return view


def _percent(value: float, spread: float = 0.0, trials: int = 1, join: str = " ") -> str:
    return f"{100 * value:.2f}{join}± {100 * spread:.2f}" if trials > 1 else f"{100 * value:.2f}"
