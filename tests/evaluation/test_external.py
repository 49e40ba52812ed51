"""Embeddings of other tools: one set of defaults for the command and the function, and what is refused."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from crossreid.cli.evaluate import rank as command
from crossreid.errors import CrossreidError
from crossreid.evaluation.external import evaluate_features, rank
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.reranking_options import KReciprocal


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("queries", 8), ("gallery", 24)):
        lengths = rng.uniform(1, 5, (count, 1))  # so that the metric matters
        np.savez(
            tmp_path / f"{name}.npz", embeddings=lengths * rng.normal(size=(count, 4)),
            identities=np.arange(count) % 4, cameras=1 + np.arange(count) % 3,
        )  # fmt: skip
    return tmp_path / "queries.npz", tmp_path / "gallery.npz"


def test_defaults_are_those_of_the_command_and_of_the_procedure():
    function, typed = (inspect.signature(each).parameters for each in (rank, command))
    names = {"setting": "settings", "option": "options"}
    for name, parameter in typed.items():
        if name not in ("json_file", "per_query", "per_identity"):  # of what is written
            assert function[names.get(name, name)].default == parameter.default, name
    assert function["metric"].default == inspect.signature(evaluate).parameters["metric"].default == "euclidean"
    assert inspect.signature(evaluate_features).parameters["metric"].default == "euclidean"


def test_a_re_ranking_is_given_by_name_or_made(files):
    plain, seconds = rank(*files, "market-1501")
    assert set(seconds) == {"loading", "ranking"}
    named, _ = rank(*files, "market-1501", rerank="k-reciprocal", options={"k1": "5", "k2": 2})
    made, _ = rank(*files, "market-1501", rerank=KReciprocal(k1=5, k2=2))
    assert [score.to_json() for score in named] == [score.to_json() for score in made]
    assert named[0].re_ranked == "k-reciprocal (k1 5, k2 2, lambda 0.3)"
    assert plain[0].re_ranked == "no"
    assert plain[0].mAP != rank(*files, "market-1501", metric="cosine")[0][0].mAP


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"options": {"k1": "2"}}, "name one with --rerank"),
        ({"normalise": "x"}, "expected camera or modality"),
        ({"precision": "x"}, "expected float32 or float64"),
        ({"rerank": "x"}, "unknown re-ranking 'x'"),
    ],
)
def test_what_cannot_be_done_is_refused(files, options, message):
    with pytest.raises(CrossreidError, match=message):
        rank(*files, "market-1501", **options)


def test_matlab_features_need_their_protocol_and_their_splits():
    with pytest.raises(CrossreidError, match="only for sysu-mm01"):
        evaluate_features(Path("x"), "regdb", Path("y"))
    with pytest.raises(CrossreidError, match="--splits DIR"):
        evaluate_features(Path("x"), "sysu-mm01", None)
