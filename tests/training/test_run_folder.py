"""One run a folder, and what the start of one clears away."""

import errno
import os
from types import SimpleNamespace

import pytest

from crossreid.training import folder as folder_module
from crossreid.training.folder import RunLocked, locked
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(TrainingOptions(accelerator="cpu"))


def test_a_second_run_is_refused_by_name_and_the_lock_goes_with_the_first(tmp_path, fabric):
    out = tmp_path / "run"
    with locked(out, fabric):
        (out / "last.safetensors").write_text("x")
        with pytest.raises(RunLocked, match=rf"run is being trained by process {os.getpid()} on .*another --out"):
            locked(out, fabric).__enter__()
        assert (out / "last.safetensors").read_text() == "x"
    assert [path.name for path in out.iterdir()] == ["last.safetensors"]
    with locked(out, fabric):
        pass


def test_a_folder_that_nothing_was_written_into_goes_too(tmp_path, fabric):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "run", fabric):
        raise ZeroDivisionError
    assert not (tmp_path / "a" / "run").exists()
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine", fabric):
        pass
    assert (tmp_path / "mine").is_dir()


def test_what_killed_runs_left_is_cleared_and_nothing_else(tmp_path, fabric):
    left = [f".last.safetensors.{os.getpid()}.tmp.safetensors", ".tmpAb3dE9", f".metrics.jsonl.{os.getpid()}.tmp.jsonl"]
    kept = [f".scores.json.{os.getpid()}.tmp.json", ".tmpAb3dE9x", "last.safetensors", ".tmp"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("x")
    with locked(tmp_path, fabric):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_other_processes_of_a_run_take_no_lock_and_are_refused_with_the_first(tmp_path):
    told = []

    def other(refusal):
        return SimpleNamespace(is_global_zero=False, broadcast=lambda own: told.append(own) or refusal)

    with locked(tmp_path, other(None)), locked(tmp_path, other(None)):
        assert not list(tmp_path.iterdir())
    with pytest.raises(RunLocked, match="by another"), locked(tmp_path, other("by another")):
        pass
    assert told == [None] * 3


def test_where_nothing_can_be_locked_a_run_goes_on_with_a_warning(tmp_path, fabric, monkeypatch):
    def refusing(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_module, "lock", refusing)
    number = errno.ENOLCK
    with (
        pytest.warns(UserWarning, match="cannot be locked .* do not start another run there"),
        locked(tmp_path, fabric),
    ):
        pass
    number = errno.EROFS  # what is finished can be opened there, and nothing else can be done
    with locked(tmp_path, fabric):
        pass
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path, fabric):
        pass


def test_a_folder_that_another_run_takes_away_as_it_ends_is_made_again(tmp_path, fabric, monkeypatch):
    real, out = folder_module.lock, tmp_path / "run"

    def taken_away(path):
        monkeypatch.undo()
        out.rmdir()
        return real(path)

    monkeypatch.setattr(folder_module, "lock", taken_away)
    with locked(out, fabric), pytest.raises(RunLocked):
        locked(out, fabric).__enter__()
