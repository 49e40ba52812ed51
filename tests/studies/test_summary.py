"""Tables of studies from results that are written by hand."""

import json

import numpy as np
import pytest

from crossreid.evaluation.scores import Score, TrialScore
from crossreid.studies.study import COLUMNS, RERANKED_COLUMNS, Cell, Study, StudyError
from crossreid.studies.summary import summary


def score(space, mean):
    trial = TrialScore(1, np.array([0.5, 1.0]), mean, 0.25, 4, 0, 0.125)
    return Score("mars", space, "cosine", "none", "every image", "every image", (trial,))


def study_of(columns=None, compared=1):
    cells = tuple(Cell(key, key.upper(), "all", "baseline", {}) for key in "abc")
    return Study("s", "a study", cells, "a", lambda base, *_: base, columns=columns, compared=compared)


def write(out, key, seed, scores):
    folder = out / key / f"seed-{seed}"
    folder.mkdir(parents=True)
    found = {space: score(space, mean).to_json() for space, mean in scores.items()}
    results = {"steps": 1, "validation": None, "seconds": 2.0, "scores": found}
    (folder / "results.json").write_text(json.dumps(results))


def test_seeds_are_listed_by_number_and_cells_in_the_order_of_the_study(tmp_path):
    for key, seed, mean in (("b", 10, 0.4), ("b", 9, 0.3), ("a", 9, 0.2)):
        write(tmp_path, key, seed, {"v": mean, "z": mean, "both": mean})
    table = summary(study_of(COLUMNS, 2), tmp_path)
    assert [(row["key"], row["seeds"]) for row in table["rows"]] == [("a", [9]), ("b", [9, 10])]
    assert table["rows"][1]["figures"]["both"]["mAP"] == [0.3, 0.4]
    assert "columns" not in table  # they are those that every table has that names none
    assert (table["protocol"], table["setting"], table["chance"]) == ("mars", "v", 0.125)


@pytest.mark.parametrize(
    ("spaces", "columns", "compared"),
    [
        (("not re-ranked", "re-ranked", "v"), RERANKED_COLUMNS, 1),
        (("image to video", "video to video"),
         tuple((space, name) for space in ("image to video", "video to video") for name in ("rank-1", "mAP")), 1),
        (("i", "ii", "iii"), (("i", "mAP"), ("ii", "mAP"), ("iii", "mAP")), 0),
    ],
)  # fmt: skip
def test_a_study_without_columns_has_what_its_runs_are_scored_by(tmp_path, spaces, columns, compared):
    write(tmp_path, "a", 0, dict.fromkeys(spaces, 0.5))
    write(tmp_path, "b", 0, {**dict.fromkeys(spaces, 0.5), "more": 0.5})
    table = summary(study_of(), tmp_path)
    assert (table["columns"], table["compared"]) == (columns, compared)
    assert table["columns"][table["compared"]][1] == "mAP"


def test_what_cannot_be_compared_is_named(tmp_path):
    write(tmp_path, "a", 0, {"v": 0.5})
    with pytest.raises(StudyError, match="a: no score of 'z'; its runs have v"):
        summary(study_of(COLUMNS, 2), tmp_path)
    write(tmp_path, "b", 0, {"z": 0.5})
    with pytest.raises(StudyError, match="no score in common"):
        summary(study_of(), tmp_path)
    (tmp_path / "a" / "seed-0" / "results.json").write_text("{")
    with pytest.raises(StudyError, match=r"results\.json in a folder seed-NUMBER .*Delete that folder"):
        summary(study_of(), tmp_path)
