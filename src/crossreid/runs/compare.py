"""Compare runs: their scores by one protocol on one test, and confidence intervals of differences over queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.errors import CrossreidError
from crossreid.evaluation.features import Features, load
from crossreid.evaluation.paired import RESAMPLES, Difference, paired_differences
from crossreid.evaluation.reranking_options import Reranking, make_reranking
from crossreid.evaluation.scores import KEYS, Score, combine
from crossreid.runs.alike import rules_differ, test_key, tested_on, what_differs
from crossreid.runs.evaluate import Advance, evaluated, features_file
from crossreid.runs.folders import named_runs, sorted_trials, titles_of
from crossreid.runs.run import Run, open_run
from crossreid.runs.scoring import comparisons, score_features, score_sets

COMPARED = ("rank-1", "mAP", "mINP")


@dataclass(frozen=True, eq=False)
class Compared:
    """One entrant in one setting: `scores` of its runs, one per seed, or of all its trials together.

    `shares` `(Q, K)` are the values of the figures `COMPARED` per query, averaged over seeds.
    """

    name: str
    scores: tuple[Score, ...]
    shares: np.ndarray

    def value(self, key: str) -> float:
        """Return the mean over the seeds."""
        return float(np.mean([score.value(key) for score in self.scores]))

    def spread(self, key: str) -> float | None:
        """Return the standard deviation over seeds, or over the trials of one run; None if there is only one."""
        if len(self.scores) > 1:
            return float(np.std([score.value(key) for score in self.scores], ddof=1))
        return self.scores[0].spread(key) if len(self.scores[0].trials) > 1 else None

    @property
    def over(self) -> str:
        """What the spread is over."""
        seeds, trials = len(self.scores), len(self.scores[0].trials)
        return f"{seeds} seeds" if seeds > 1 else f"{trials} trials" if trials > 1 else ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """All entrants with the same test, in one setting: `rows` in the order given, and the differences of later ones to
    the first.

    `test` describes what they were tested on; `differences` maps names to `COMPARED`'s keys.
    """

    test: str
    protocol: str
    setting: str
    re_ranked: str
    rows: tuple[Compared, ...]
    differences: Mapping[str, Mapping[str, Difference]]
    confidence: float
    resamples: int

    @property
    def queries(self) -> int:
        """Return the number of queries with a match, over all trials that have their own models."""
        return int(np.count_nonzero(~np.isnan(self.rows[0].shares[:, 0])))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dump`; scores are fractions."""
        first = self.rows[0].scores[0]
        return {
            "protocol": self.protocol, "setting": self.setting, "re-ranked": self.re_ranked, "test": self.test,
            "queries": self.queries, "exclusion": first.exclusion, "gallery_draw": first.gallery_draw,
            "confidence": self.confidence, "resamples": self.resamples, "against": self.rows[0].name,
            "runs": [
                {
                    "name": row.name, **{key: row.value(key) for key in KEYS},
                    "spread": {key: row.spread(key) for key in KEYS}, "over": row.over, "metric": row.scores[0].metric,
                    "trained": row.scores[0].trained,
                    "differences": {k: asdict(d) for k, d in self.differences.get(row.name, {}).items()},
                }
                for row in self.rows
            ],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Entrant:
    name: str
    tests: tuple[tuple[Run, Features, list[Score]], ...]  # one run per seed or per trial
    trials: bool

    @property
    def key(self) -> tuple[str, ...]:
        keys = tuple(test_key(run, features) for run, features, _ in self.tests)
        return keys if self.trials else keys[:1]

    def compared(self, setting: str, re_ranked: str) -> Compared | None:
        """Return its scores in one setting; None if it was not scored in it."""
        scores = [s for *_, each in self.tests for s in each if (s.setting, s.re_ranked) == (setting, re_ranked)]
        if len(scores) != len(self.tests):
            return None
        shares = [np.stack([part.values(key) for key in COMPARED], axis=1) for s in scores for part in s.each]
        if self.trials:
            return Compared(self.name, (combine(scores),), np.concatenate(shares))
        return Compared(self.name, tuple(scores), np.mean(shares, axis=0))


def compare(
    runs: Sequence[Path | str],
    *,
    rerank: str | Reranking | None = None,
    metric: str | None = None,
    checkpoint: str = "best",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    titles: Mapping[str, str] | None = None,
    advance: Advance | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Compare runs. Runs that are already evaluated are read, not embedded again.

    Args:
        runs: runs, folders of seed-* runs, of trial-* runs or of stages; each is a row, and the first is the reference
            for the others.
        rerank: `k-reciprocal`, `query-expansion` or one of their options objects: also compare re-ranked scores.
        metric, checkpoint: as in `evaluate`.
        confidence, resamples: for the intervals, as in `paired_differences`.
        titles: names for some of them instead of their folders' names.

    Returns:
        One comparison per setting and group of runs with the same test, and notes on what was not comparable.

    Raises:
        CrossreidError: no two runs were tested alike; the message says what differs.
    """
    chosen = make_reranking(rerank) if isinstance(rerank, str) else rerank
    entrants = [
        _entrant(name, members, trials, metric, checkpoint, chosen, advance)
        for name, members, trials in _members([Path(run) for run in runs], titles)
    ]
    if len(entrants) < 2:
        raise CrossreidError("compare: expected two or more runs. `crossreid evaluate RUN` scores one.")
    groups: dict[tuple[str, ...], list[_Entrant]] = {}
    for entrant in entrants:
        groups.setdefault(entrant.key, []).append(entrant)
    notes = [
        f"{entrants[0].name} and {group[0].name}: {'; '.join(what_differs(entrants[0].tests[0], group[0].tests[0]))}."
        for group in list(groups.values())[1:]
    ]
    found: list[Comparison] = []
    for group in groups.values():
        if len(group) > 1:
            each, said = _compared(group, confidence, resamples)
            found, notes = found + each, notes + said
    if not found:
        raise CrossreidError("compare: no two of the runs were tested alike. " + " ".join(notes))
    return found, notes


def _members(paths: Sequence[Path], titles: Mapping[str, str] | None) -> list[tuple[str, list[Path], bool]]:
    """Return the name, the runs, and whether they are trials, of each entrant."""
    trials = {path: found for path in paths if (found := sorted_trials(path))}
    others = named_runs([path for path in paths if path not in trials]) if len(trials) < len(paths) else {}
    names = titles_of(paths)
    members = [(names[path], found, True) for path, found in trials.items()]
    members += [(name, found, False) for name, found in others.items()]
    order = {run: number for number, path in enumerate(paths) for run in (path, *path.glob("*"), *path.glob("*/*"))}
    members.sort(key=lambda member: order.get(member[1][0], 0))
    if wrong := [name for name in titles or {} if name not in [name for name, *_ in members]]:
        raise CrossreidError(f"--title {wrong[0]!r}: expected one of: {', '.join(name for name, *_ in members)}.")
    return [((titles or {}).get(name, name), found, trial) for name, found, trial in members]


def _entrant(
    name: str, members: Sequence[Path], trials: bool, metric: str | None, checkpoint: str,
    rerank: Reranking | None, advance: Advance | None,
) -> _Entrant:  # fmt: skip
    tests = []
    for folder in members:
        run = open_run(folder, checkpoint)
        features, stored = evaluated(run, advance=advance)
        scores = scored_again(run, features, stored, metric, None)
        if rerank is not None:
            scores += scored_again(run, features, stored, metric, rerank)
        tests.append((run, features, scores))
    entrant = _Entrant(name, tuple(tests), trials)
    if not trials and len({test_key(run, features) for run, features, _ in tests}) > 1:
        raise CrossreidError(f"{name}: its seeds were tested on different images; compare them one by one.")
    return entrant


def scored_again(
    run: Run, features: Features, stored: Sequence[Score], metric: str | None, rerank: Reranking | None
) -> list[Score]:
    """Return the scores of a run's stored features, per query."""
    options: dict[str, Any] = {"metric": metric, "rerank": rerank}
    names = list(dict.fromkeys(score.setting for score in stored))
    if comparisons(run.split, run.recipe):
        files = {name: features_file(run.results, name, first=number == 0) for number, name in enumerate(names)}
        compared = {name: features if number == 0 else load(files[name]) for number, name in enumerate(names)}
        scores = score_sets(compared, run.split, run.recipe, **options)
    else:
        scores = score_features(features, run.split, run.recipe, **options)
    return [replace(s, checkpoint=stored[0].checkpoint, trained=stored[0].trained) for s in scores]


def _compared(group: Sequence[_Entrant], confidence: float, resamples: int) -> tuple[list[Comparison], list[str]]:
    found, notes = [], []
    run, features, scores = group[0].tests[0]
    for setting, re_ranked in dict.fromkeys((score.setting, score.re_ranked) for score in scores):
        rows = [row for entrant in group if (row := entrant.compared(setting, re_ranked)) is not None]
        differ = [(row, rules_differ(rows[0].scores[0], row.scores[0])) for row in rows]
        notes += [
            f"{rows[0].name} and {row.name} are not compared: {'; '.join(lines)}." for row, lines in differ if lines
        ]
        alike = [row for row, lines in differ if not lines]
        if len(alike) < 2:
            continue
        differences = {
            row.name: dict(
                zip(
                    COMPARED,
                    paired_differences(row.shares, alike[0].shares, confidence=confidence, resamples=resamples),
                    strict=True,
                )
            )
            for row in alike[1:]
        }
        found.append(
            Comparison(
                tested_on(run, features),
                scores[0].protocol,
                setting,
                re_ranked,
                tuple(alike),
                differences,
                confidence,
                resamples,
            )
        )
    return found, notes
