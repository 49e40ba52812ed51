import json
import threading

import pytest

from crossreid.files import NoSpace
from crossreid.training.tracking import Tracker
from full_disk import files_of_at_most
from hostile_files import BAD_LOG_LINES


def row(step):
    return {"step": step, "epoch": 0, "losses": {"a": 1.0}, "total": 1.0, "lr": 0.1, "images_per_second": 2.0}


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_are_held_back_until_they_are_flushed(tmp_path):
    tracker = Tracker(tmp_path, 0)
    tracker.train(row(1))
    assert not (tmp_path / "metrics.jsonl").exists()
    tracker.flush()
    assert steps(tmp_path) == [1]
    tracker.validation({"step": 1, "epoch": 1, "validation": {"rank-1": 0.5}})
    tracker.close()
    assert steps(tmp_path) == [1, 1]


def test_rows_of_later_steps_and_half_a_line_are_dropped_on_going_on(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row(step)) + "\n" for step in (1, 2, 3)) + '{"step": 4')
    tracker = Tracker(tmp_path, 2)
    tracker.train(row(3))
    tracker.close()
    assert steps(tmp_path) == [1, 2, 3]


def test_lines_that_cannot_be_read_are_left_out_and_counted(tmp_path, capsys):
    lines = [json.dumps(row(step)).encode() for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([lines[0], *BAD_LOG_LINES.values(), lines[1]]) + b"\n")
    Tracker(tmp_path, 2).close()
    assert steps(tmp_path) == [1, 2]
    assert f"metrics.jsonl: {len(BAD_LOG_LINES)} lines cannot be read and are left out" in capsys.readouterr().err
    Tracker(tmp_path, 2).close()
    assert capsys.readouterr().err == ""


def test_rows_that_the_disk_does_not_take_are_written_whole_or_not_at_all(tmp_path, capsys):
    hook = threading.excepthook
    tracker = Tracker(tmp_path, 0)
    tracker.train(row(1))
    tracker.flush()
    for step in range(2, 50):
        tracker.train(row(step))
    with files_of_at_most((tmp_path / "metrics.jsonl").stat().st_size + 150):
        with pytest.raises(NoSpace, match=r"metrics\.jsonl cannot be written"):
            tracker.flush()
        assert steps(tmp_path) == [1]
        with pytest.raises(NoSpace, match=r"tensorboard cannot be written|metrics\.jsonl cannot be written"):
            tracker.close()
    assert threading.excepthook is hook
    assert "Traceback" not in capsys.readouterr().err
