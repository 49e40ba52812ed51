"""Studies on a world and a network so small that only their workings can be tested: real runs, real processes."""

import json
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.runs.recipe import make_recipe
from crossreid.studies import running as ablation
from crossreid.studies.running import StudyError, run_estimators, run_study, slots, train_and_score
from crossreid.studies.study import cell_recipe, vd_study

SMALL = {
    "data": {"name": "sysu-mm01", "height": 32, "width": 16, "workers": 0, "sampler": {"identities": 2, "images": 4}},
    "method": {"name": "variational_distillation", "backbone": {"name": "test_resnet", "weights": "none"}},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    world = tmp_path_factory.mktemp("world") / "world"
    synthesise(world, "sysu-mm01", 10, 0, images_per_camera=2, size=(32, 16), workers=1)
    return make_recipe({**SMALL, "data": {**SMALL["data"], "root": str(world)}})


@pytest.mark.slow
def test_a_study_runs_sums_up_and_is_not_run_again(base, tmp_path, monkeypatch):
    cells = ["shared-vd", "specific-ib"]
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
        patched.setattr(ablation, "_start", lambda *_: pytest.fail("a finished run was started again"))
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
    same = next(s for s in json.loads((tmp_path / "s").read_text()) if s["setting"] == scores["both"]["setting"])
    assert [trial["mAP"] for trial in same["trials"]] == [trial["mAP"] for trial in scores["both"]["trials"]]


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_are_done(base, tmp_path):
    rival = {"information_bottleneck.critic_hidden": 0}
    with pytest.raises(Exception, match="critic_hidden"):
        run_study(base, vd_study(), tmp_path, seeds=[0], rival=rival, only=["shared-ib"])
    broken = tmp_path / "shared-vd" / "seed-0"
    broken.mkdir(parents=True)
    (broken / "last.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(StudyError, match="1 of 2 runs failed") as error:
        run_study(base, vd_study(), tmp_path, seeds=[0, 1], jobs=2, only=["shared-vd"])
    assert str(broken) in str(error.value)
    table = json.loads((tmp_path / "table.json").read_text())
    assert [row["seeds"] for row in table["rows"]] == [[1]]


@pytest.mark.slow
def test_a_run_stops_with_its_study_and_goes_on(base, tmp_path):
    """The study holds the run's standard input; once that is closed the run writes a checkpoint and ends."""
    recipe = make_recipe(cell_recipe(base, vd_study().cells[5], 0).model_dump(mode="json"), ["training.epochs=400"])
    wanted, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    wanted.write_text(recipe.as_yaml())
    process = subprocess.Popen(
        [sys.executable, "-m", "crossreid.studies.running", str(wanted), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (folder / "last.safetensors").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.stdin.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert 0 < max(steps) < 400
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_one_run_writes_its_figures(base, tmp_path):
    train_and_score(base, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["scores"]) == {"v", "z", "both", "not re-ranked", "re-ranked"}
    assert results["steps"] > 0
    assert results["validation"] is not None


def test_places_share_the_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
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


def test_estimators_go_on_where_they_were(tmp_path):
    rows = run_estimators(tmp_path, seeds=[0], steps=3, values=[1.0])
    assert len(rows) == 8  # four estimators, two dimensions
    stored = tmp_path / "estimators.json"
    kept = json.loads(stored.read_text())["estimates"]
    stored.write_text(json.dumps({"estimates": kept[:5]}))
    again = run_estimators(tmp_path, seeds=[0], steps=3, values=[1.0])
    assert again == rows


def test_unknown_cells_and_no_seeds_are_refused(base, tmp_path):
    with pytest.raises(StudyError, match=r"no cell all-vdd in this study\. Known: .*all-vd"):
        run_study(base, vd_study(), tmp_path, seeds=[0], only=["all-vdd"])
    with pytest.raises(StudyError, match="one seed or more"):
        run_study(base, vd_study(), tmp_path, seeds=[])
