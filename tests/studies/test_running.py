"""Studies on a world and a network so small that only their workings can be tested: real runs, real processes.

One run that ends well is a process of its own, as a study starts it; the others are forks, which are spared the imports."""

import json

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.runs.recipe import make_recipe
from crossreid.studies import running
from crossreid.studies.running import run_study, slots
from crossreid.studies.study import StudyError
from crossreid.studies.vd import vd_study
from forked import fork_runs


@pytest.mark.slow
def test_a_study_runs_sums_up_and_is_not_run_again(base, tmp_path, monkeypatch):
    cells = ["shared-vd", "specific-ib"]
    fork_runs(monkeypatch, unless=lambda job: (job.cell.key, job.seed) == ("shared-vd", 0))
    table = run_study(base, vd_study(), tmp_path, seeds=[0, 1], jobs=2, only=cells)
    assert [row["key"] for row in table["rows"]] == ["specific-ib", "shared-vd"]  # in the study's order
    for row in table["rows"]:
        assert row["seeds"] == [0, 1]
        for space in ("v", "z", "both"):
            assert all(0 <= value <= 1 for value in row["figures"][space]["rank-1"])
    assert table["rows"][0]["published"] == {"rank-1": 0.2869, "mAP": 0.3242}
    assert json.loads((tmp_path / "table.json").read_text()) == table
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed-*/*")}
    with monkeypatch.context() as patched:
        patched.setattr(running, "start", lambda *_: pytest.fail("a finished run was started again"))
        assert run_study(base, vd_study(), tmp_path, seeds=[0, 1], jobs=2, only=cells) == table
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = make_recipe(base.model_dump(mode="json"), ["training.epochs=2"])
    with pytest.raises(StudyError, match="seed-0 is a run of another recipe"):
        run_study(other, vd_study(), tmp_path, seeds=[0], only=cells)
    scores = json.loads((tmp_path / "shared-vd" / "seed-0" / "results.json").read_text())["scores"]
    evaluated = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "shared-vd" / "seed-0"), "--json", str(tmp_path / "s")]
    )
    assert evaluated.exit_code == 0, evaluated.output  # each is an ordinary run
    same = next(s for s in json.loads((tmp_path / "s").read_text()) if s["setting"] == scores["v"]["setting"])
    assert [trial["mAP"] for trial in same["trials"]] == [trial["mAP"] for trial in scores["v"]["trials"]]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_are_done(base, tmp_path, monkeypatch):
    fork_runs(monkeypatch)
    rival = {"information_bottleneck.critic_hidden": 0}
    with pytest.raises(Exception, match="critic_hidden"):
        run_study(base, vd_study(rival), tmp_path, seeds=[0], only=["shared-ib"])
    broken = tmp_path / "shared-vd" / "seed-0"
    broken.mkdir(parents=True)
    (broken / "last.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(StudyError, match="1 of 2 runs failed") as error:
        run_study(base, vd_study(), tmp_path, seeds=[0, 1], jobs=2, only=["shared-vd"])
    assert str(broken) in str(error.value)
    table = json.loads((tmp_path / "table.json").read_text())
    assert [row["seeds"] for row in table["rows"]] == [[1]]


def test_slots_share_the_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("crossreid.studies.running.processors", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert slots(2) == [{"OMP_NUM_THREADS": "3"}] * 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert slots(None) == [{"OMP_NUM_THREADS": "8"}]
    assert slots(4) == [{"OMP_NUM_THREADS": "2"}] * 4
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in slots(3)] == ["5", "7", "5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in slots(None)] == ["0", "1"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in slots(4)] == ["0", "1", "0", "1"]


def test_unknown_cells_and_no_seeds_are_refused(base, tmp_path):
    with pytest.raises(StudyError, match=r"no cell all-vdd in this study\. Known: .*all-vd"):
        run_study(base, vd_study(), tmp_path, seeds=[0], only=["all-vdd"])
    with pytest.raises(StudyError, match="at least one seed"):
        run_study(base, vd_study(), tmp_path, seeds=[])
