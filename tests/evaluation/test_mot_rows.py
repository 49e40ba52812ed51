import numpy as np
import pytest

from crossreid.data.records import DataError
from crossreid.evaluation.mot_rows import PEDESTRIAN, read_mot_rows


def test_rows_are_read_whatever_follows_the_box(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1,7,10,20,5,8\n\n2,7,1.5,2,3,4,0,8,0.25\n1,-1,0,0,1,1,0.9,-1,-1,-1\n")
    rows = read_mot_rows(path)
    assert rows.frames.tolist() == [1, 2, 1]
    assert rows.identities.tolist() == [7, 7, -1]
    assert rows.boxes.tolist() == [[10, 20, 15, 28], [1.5, 2, 4.5, 6], [0, 0, 1, 1]]
    assert rows.flags.tolist() == [1, 0, 0.9]
    assert rows.classes.tolist() == [PEDESTRIAN, 8, PEDESTRIAN]


def test_a_file_without_rows_is_a_camera_that_saw_nobody(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    rows = read_mot_rows(tmp_path / "a.txt")
    assert len(rows) == 0
    assert rows.boxes.shape == (0, 4)
    assert rows.frames.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,1,0,0,5", "line 1: expected frame, id"),
        ("1,1,0,0,5,x", "line 1: expected frame, id"),
        ("1,1,0,0,5,nan", "line 1: expected frame, id"),
        ("1,1,0,0,5,5\n0,1,0,0,5,5", "line 2: expected a frame from 1"),
        ("1.5,1,0,0,5,5", "line 1: expected a frame from 1"),
        ("1,1,0,0,0,5", "line 1: expected a width"),
        ("1,1,0,0,5,5\n2,3,0,0,5,5\n2,3,9,9,5,5", "line 2: identity 3 occurs 2 times in frame 2"),
    ],
)
def test_what_is_no_row_is_named(tmp_path, text, said):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        read_mot_rows(tmp_path / "a.txt")
