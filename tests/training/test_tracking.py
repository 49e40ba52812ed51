import json

from crossreid.training.tracking import Tracker


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
