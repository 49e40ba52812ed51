"""The page of real runs: only what was tested alike, its own images and captions, and nobody's page written over."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compared_runs import copied, made
from crossreid.data.records import INFRARED
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import load, save
from crossreid.evaluation.scores import Score, TrialScore
from crossreid.reporting.plotting import plot
from crossreid.reporting.report import FLOOR_NOTES, crossings, data_facts, duration, page_of, records_of, report
from crossreid.runs.evaluate import evaluate, evaluated
from crossreid.runs.named_network import NOT_TRAINED_TITLE
from crossreid.runs.run import is_official, open_run
from few_fits import quick_drawings, quick_maps


def quiet(_line):
    pass


@pytest.fixture(scope="module")
def runs():
    return made()


def test_the_page_of_two_runs_is_neither_s_own(runs, tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    a, b = copied(tmp_path, "a", "b")
    (a / "report.html").write_text("a's own")
    evaluate(a)
    path = report([a, b], below={NOT_TRAINED_TITLE: evaluated(open_run(b))}, say=quiet)
    assert path == page_of([a, b]) == tmp_path / "report-a-b.html"
    assert (a / "report.html").read_text() == "a's own"
    text = path.read_text()
    assert "Identity + triplet (a)" in text
    assert "Identity + triplet (b)" in text
    assert "# Identity + triplet (b): the same except for\n# training.seed: 1\n" in text.replace("</code>", "\n")
    for part in (
        "Data",
        "training images per identity",
        "cameras",
        "crossreid",
        "written",
        "processor",
        "training time",
    ):
        assert part in text, part
    assert text.count('class="save" download=') >= 4
    assert 'class="whisker"' in text
    assert "In the same test: identity + triplet (b)" in text
    assert "; pretrained, not trained here " in text
    assert FLOOR_NOTES[NOT_TRAINED_TITLE] in text
    assert "the first trial&#x27;s draw (official permutations)" in text, "the lists are of the scores' own draw"
    assert "identical: no identity and camera has more images than are drawn" in text
    assert "published:" not in text, "a rendered world is no published test set"


def test_pages_of_runs_of_one_name_are_called_by_their_folders():
    a, b = Path("/studies/a/seed-0"), Path("/studies/b/seed-0")
    assert page_of([a, b]) == Path("/studies/a/report-a-seed-0-b-seed-0.html")


def test_runs_of_different_tests_are_refused_with_what_differs(runs, tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    quick_drawings(monkeypatch)
    for names, differing in ((("m", "n"), "data.options.seed 0 / 1"), (("a", "m"), "protocol sysu-mm01")):
        with pytest.raises(CrossreidError, match="cannot be on one page: different test images") as refusal:
            report([runs / name for name in names], say=quiet)
        assert differing in str(refusal.value)
        with pytest.raises(CrossreidError, match="cannot be in one figure: different test images"):
            plot([runs / name for name in names], tmp_path, say=quiet)


def test_images_of_a_run_are_those_of_its_rows(runs, tmp_path):
    (own,) = copied(tmp_path, "a")
    run = open_run(own)
    features, _ = evaluated(run)
    assert [r.path.as_posix() for r in records_of(run, features)] == features.names.tolist()
    turned = features.take(np.arange(len(features))[::-1])  # rows in another order, as of tracklets
    records = records_of(run, turned)
    assert [r.path.as_posix() for r in records] == turned.names.tolist()
    assert [r.modality == INFRARED for r in records] == (turned.modalities == int(INFRARED)).tolist()
    moved = replace(features, names=np.char.add(features.names, "x"))
    save(moved, own / "features.npz")
    with pytest.raises(CrossreidError, match=r"has other images than sysu-mm01 at .* has now.*crossreid evaluate"):
        records_of(run, load(own / "features.npz"))


def score(*curve):
    trial = TrialScore(1, np.array(curve), 0.5, 0.5, 10, 0, 0.1)
    return Score("p", "s", "cosine", "none", "every image", "every image", (trial,))


def test_curves_that_cross_are_named():
    assert crossings([("One", score(0.5, 0.6, 0.7)), ("Two", score(0.4, 0.65, 0.7))]) == [
        "The CMC curves cross: One is ahead at rank 1, Two at rank 2 (65.0% against 60.0%)."
    ]
    assert crossings([("One", score(0.4, 0.65)), ("Two", score(0.4, 0.6))]) == []
    (line,) = crossings([("One", score(0.4, 0.6, 0.9)), ("Two", score(0.4, 0.7, 0.8))])
    assert line == "The CMC curves cross: Two is ahead at rank 2, One at rank 3 (90.0% against 80.0%)."


def test_facts_of_the_data(runs):
    split = open_run(runs / "a").split
    facts = data_facts(split)
    assert facts["train identities"] == str(len({record.identity for record in split.train}))
    assert facts["cameras"] == "1, 2, 3, 4, 5, 6"
    assert not is_official(split)
    assert re.fullmatch(r"\d+ s in steps", duration(3.2))
    assert (duration(125), duration(3661)) == ("2 min 5 s in steps", "1 h 1 min in steps")
