"""Against cases that are worked out by hand, against motmetrics, and against the library's reading of files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.records import DataError
from crossreid.evaluation.mot_rows import MotRows
from crossreid.evaluation.track_scores import score_tracks, scores_of


def rows(*listed):
    """Rows of (frame, identity, left): boxes of 10 x 20, flag 1, class 1; a fourth number is the class."""
    table = np.array([(*row, 1) if len(row) == 3 else row for row in listed], dtype=np.float64).reshape(-1, 4)
    boxes = np.column_stack([table[:, 2], 0 * table[:, 2], table[:, 2] + 10, 0 * table[:, 2] + 20])
    kinds = table[:, 3].astype(int)
    return MotRows(table[:, 0].astype(int), table[:, 1].astype(int), boxes, np.where(kinds == 1, 1.0, 0.0), kinds)


def walk(identity, frames, left=0.0):
    return [(frame, identity, left) for frame in frames]


def test_identities_that_change_between_cameras_are_right_within_and_wrong_across():
    truth = {name: rows(*walk(1, range(1, 11))) for name in "ab"}
    found = {"a": rows(*walk(5, range(1, 11))), "b": rows(*walk(6, range(1, 11)))}
    scores = scores_of({name: (truth[name], found[name]) for name in "ab"})
    assert scores.within.idf1 == scores.within.hota == scores.within.mota == 1
    # Of 20 boxes one identity can have 10: IDTP 10, IDFN 10, IDFP 10. AssA of every box is 10 / (20 + 10 - 10).
    assert scores.across.idf1 == pytest.approx(0.5)
    assert scores.across.assa == pytest.approx(0.5)
    assert scores.across.deta == 1
    assert scores.across.hota == pytest.approx(0.5**0.5)
    assert (scores.within.switches, scores.across.switches) == (0, 1)
    assert scores.across.mota == pytest.approx(0.95)
    assert (scores.across.people, scores.across.identities) == (1, 2)

    joined = scores_of({name: (truth[name], truth["a"]) for name in "ab"})
    assert joined.across.idf1 == joined.across.hota == 1


def test_a_box_is_matched_within_its_own_camera():
    truth = {"a": rows((1, 1, 0)), "b": rows((1, 2, 50))}
    swapped = {"a": rows((1, 1, 50)), "b": rows((1, 2, 0))}
    scores = scores_of({name: (truth[name], swapped[name]) for name in "ab"})
    assert scores.across.idf1 == scores.across.hota == 0
    assert (scores.across.missed, scores.across.false) == (2, 2)


def test_a_switch_a_miss_and_a_false_box_by_hand():
    truth = rows(*walk(1, range(1, 9)))
    found = rows(*walk(1, range(1, 6)), *walk(2, (6, 7)), (8, 3, 100))
    score = scores_of({"a": (truth, found)}).across
    assert score.mota == pytest.approx(1 - (1 + 1 + 1) / 8)
    assert (score.switches, score.missed, score.false, score.truth) == (1, 1, 1, 8)
    # Identity 1 has five boxes of eight: IDTP 5, IDFN 3, IDFP 3.
    assert score.idr == score.idp == score.idf1 == pytest.approx(5 / 8)


def test_a_camera_that_saw_nobody_counts_as_missed():
    scores = scores_of({"a": (rows((1, 1, 0)), rows((1, 1, 0))), "b": (rows((1, 1, 0)), None)})
    assert scores.cameras["b"].idf1 == 0
    assert scores.across.idr == pytest.approx(0.5)
    assert scores.across.idp == 1


def test_what_is_found_on_a_distractor_is_neither_right_nor_wrong():
    truth = rows((1, 1, 0), (1, 2, 50, 8))
    assert scores_of({"a": (truth, rows((1, 1, 0), (1, 9, 50)))}).across.false == 0
    assert scores_of({"a": (truth, rows((1, 1, 0), (1, 9, 90)))}).across.false == 1
    # A row with flag 0 of a pedestrian is not asked for, and what is found there is wrong.
    ignored = MotRows(*(getattr(truth, name) for name in ("frames", "identities", "boxes", "flags")), np.array([1, 1]))
    score = scores_of({"a": (ignored, rows((1, 1, 0), (1, 9, 50)))}).across
    assert (score.truth, score.false) == (1, 1)


def test_a_truth_without_boxes_is_refused():
    with pytest.raises(DataError, match="no box to score"):
        scores_of({"a": (rows((1, 2, 50, 8)), rows((1, 1, 0)))})


@st.composite
def scenes(draw):
    """Truth and tracks of a few frames on a line, boxes of which some overlap by half or so."""
    made = []
    for _ in range(2):
        listed = {}
        for _ in range(draw(st.integers(1, 14))):
            frame, identity = draw(st.integers(1, 5)), draw(st.integers(1, 4))
            listed[frame, identity] = draw(st.sampled_from([0, 2, 30, 33, 60, 64, 90]))
        made.append(rows(*((frame, identity, left) for (frame, identity), left in listed.items())))
    return tuple(made)


@settings(max_examples=40, deadline=None)
@given(scenes(), scenes())
def test_identity_scores_are_those_of_motmetrics(first, second):
    """All of one camera, and two cameras stacked one after another."""
    import motmetrics

    accumulated = motmetrics.MOTAccumulator(auto_id=True)
    for truth, found in (first, second):
        for frame in range(1, 6):
            one, other = truth.chosen(truth.frames == frame), found.chosen(found.frames == frame)
            overlap = np.minimum(one.boxes[:, None, 2], other.boxes[None, :, 2]) - np.maximum(
                one.boxes[:, None, 0], other.boxes[None, :, 0]
            )
            overlap = np.clip(overlap, 0, None)
            iou = overlap / (20 - overlap)
            accumulated.update(one.identities, other.identities, np.where(iou >= 0.5, 1 - iou, np.nan))
    measures = ["idf1", "idp", "idr", "num_objects", "idtp"]
    summary = motmetrics.metrics.create().compute(accumulated, metrics=measures, name="all").loc["all"]
    score = scores_of({"a": first, "b": second}).across
    assert score.truth == summary["num_objects"]
    assert score.idf1 == pytest.approx(summary["idf1"])
    assert score.idr == pytest.approx(summary["idr"])
    assert score.idp == pytest.approx(summary["idp"])


@settings(max_examples=15, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_names_of_identities_and_the_order_of_rows_do_not_matter(scene, random):
    truth, found = scene
    order = list(range(len(found)))
    random.shuffle(order)
    renamed = found.chosen(np.array(order))
    renamed = MotRows(renamed.frames, 100 - 7 * renamed.identities, renamed.boxes, renamed.flags, renamed.classes)
    one, other = scores_of({"a": (truth, found)}).across, scores_of({"a": (truth, renamed)}).across
    for name in ("idf1", "hota", "deta", "assa", "missed", "false", "identities"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))


def written(folder, cameras):
    folder.mkdir()
    for name, listed in cameras.items():
        lines = [
            f"{frame},{identity},{left},0,10,20,{int(kind == 1)},{kind},1\n" for frame, identity, left, kind in listed
        ]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    draw, place = np.random.default_rng(3), tmp_path_factory.mktemp("tracks")
    truth = {
        name: [(frame, i, 30 * i + frame, 8 if i == 4 else 1) for frame in range(1, 21) for i in range(1, 5)] for name in "ab"
    }  # fmt: skip
    found = {
        name: [
            (frame, i + 10 * (draw.random() < 0.2), left + int(draw.integers(-4, 5)), 1)
            for frame, i, left, _ in listed
            if draw.random() < 0.9
        ]
        for name, listed in truth.items()
    }
    return written(place / "gt", truth), written(place / "tracks", found)


def test_files_score_as_the_library_scores_them(folders):
    from trackers.eval import evaluate_mot_sequence, evaluate_mot_sequences

    truth, tracks = folders
    metrics = ["CLEAR", "HOTA", "Identity"]
    scores = score_tracks(truth, tracks)
    one = evaluate_mot_sequence(truth / "a.txt", tracks / "a.txt", metrics)
    all_of_them = evaluate_mot_sequences(truth, tracks, metrics=metrics).aggregate
    for ours, theirs in ((scores.cameras["a"], one), (scores.within, all_of_them)):
        assert ours.idf1 == pytest.approx(theirs.Identity.IDF1)
        assert ours.hota == pytest.approx(theirs.HOTA.HOTA)
        assert ours.assa == pytest.approx(theirs.HOTA.AssA)
        assert ours.mota == pytest.approx(theirs.CLEAR.MOTA)
        assert ours.switches == theirs.CLEAR.IDSW > 0
        assert 0.3 < ours.idf1 < 1
    assert score_tracks(truth / "a.txt", tracks / "a.txt").across == scores.cameras["a"]


def test_the_command_prints_and_writes_the_scores(folders, tmp_path):
    truth, tracks = folders
    told = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["score-tracks", str(truth), str(tracks), "--json", str(told)])
    assert result.exit_code == 0, result.output
    held = json.loads(told.read_text())
    assert held["across"]["idf1"] == score_tracks(truth, tracks).across.idf1
    line = next(line for line in result.output.splitlines() if "across cameras" in line)
    assert line.split()[2] == f"{100 * held['across']['idf1']:.1f}"


def test_what_does_not_fit_together_is_refused(folders, tmp_path):
    truth, tracks = folders
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.txt").write_text("1,1,0,0,5,5\n")
    (tmp_path / "empty").mkdir()
    for given_truth, given_tracks, said in (
        (truth, tmp_path / "other", "c not in the ground truth, which has a, b"),
        (truth, tmp_path / "empty", "found none of them"),
        (tmp_path / "empty", tracks, "found no .txt file"),
        (truth, tracks / "a.txt", "expected two files, or two folders"),
        (truth, tmp_path / "none", "not found"),
    ):
        with pytest.raises(DataError, match=said):
            score_tracks(given_truth, given_tracks)
