"""Queries without a match: the same ones that the procedure skips."""

from pathlib import Path

import numpy as np
import pytest

from crossreid.data.records import Record, Split
from crossreid.evaluation.features import features_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.unmatched import unmatched_queries


def records(rng, count, *, films=False):
    def film():
        return str(rng.integers(2)) if films and rng.random() < 0.5 else None

    return [Record(Path(f"{k}.jpg"), str(rng.integers(5)), int(rng.integers(3)), tracklet=film()) for k in range(count)]


@pytest.mark.parametrize("protocol", ["single-modality", "cross-camera", "market-1501"])
@pytest.mark.parametrize("films", [False, True])
def test_as_many_as_are_skipped(protocol, films):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        everyone = records(rng, 14, films=films)
        query, gallery = everyone[:6], everyone[3:]  # three are on both sides
        split = Split("s", Path(), protocol, (), tuple(query), tuple(gallery))
        unmatched = unmatched_queries(split)
        vectors = {record: rng.normal(size=4) for record in everyone}
        if len(unmatched) == len(query):
            continue
        (score,) = evaluate(features_of(query, gallery, vectors), protocol)
        assert score.trials[0].skipped_queries == len(unmatched)
