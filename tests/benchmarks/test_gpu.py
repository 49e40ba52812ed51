"""The script that measures a GPU goes through all of its cases on a CPU, at sizes that say nothing about speed."""

import json
import sys

import pytest
import torch

from benchmark_modules import BENCHMARKS, benchmark

RESULTS = BENCHMARKS / "results"


def run(script, monkeypatch, out, *arguments):
    given = ["gpu.py", "--out", str(out), "--device", "cpu", "--small", "--steps", "1", "--minutes", "60", *arguments]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    return json.loads((out / "gpu.json").read_text(encoding="utf-8"))["rows"], (out / "gpu.md").read_text(
        encoding="utf-8"
    )


MEASURED = (  # one recipe of each method and stage; the others are loaded
    "VD official, float32", "baseline, bf16", "AGW, bf16", "IDKL, bf16",
    "VKD official, teacher, float32", "VKD official, student, float32",
)  # fmt: skip


def test_a_step_of_every_method_is_measured_beside_its_encoders_and_its_limit(monkeypatch, tmp_path):
    with benchmark(monkeypatch, "gpu") as script:
        bench = script.Bench(torch.device("cpu"), tmp_path, small=True, steps=1, end=0, only="")
        kinds = {}
        for title, name, stage, changes in script.STEPS:
            kinds[title] = script.recipe_of(bench, name, stage, changes).method.name, stage
        assert {kinds[title] for title in MEASURED} == set(kinds.values())
        monkeypatch.setattr(script, "STEPS", [step for step in script.STEPS if step[0] in MEASURED])
        monkeypatch.setattr(script, "ROUNDS", 1)  # the runs below have several
        monkeypatch.setattr(script, "WARM_UP", 1)
        monkeypatch.setattr(
            script, "SMALL", (*script.SMALL, "data.height=32", "data.width=16", "data.sampler.images=2")
        )
        rows, page = run(script, monkeypatch, tmp_path, "--sections", "steps")
        assert [row["what"] for row in rows] == [title for title, *_ in script.STEPS]
    assert not [row for row in rows if "left_out" in row]
    for row in rows:
        assert min(row["step_seconds"], row["encoder_seconds"]) > 0
        assert row["bounds_seconds"][row["limit"]] == max(row["bounds_seconds"].values())
        assert f"| {row['what']} | {1e3 * row['step_seconds']:.1f} |" in page


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_runs_and_switches_have_rows_of_their_own(monkeypatch, tmp_path):
    with benchmark(monkeypatch, "gpu") as script:
        monkeypatch.setattr(script, "SWITCHES", {"averaged": ("training.ema=0.99",)})  # compiling takes a minute
        rows, page = run(script, monkeypatch, tmp_path, "--sections", "switches", "runs", "--only", "baseline")
    assert not [row for row in rows if "left_out" in row]
    assert "baseline, bf16, averaged" in [row["what"] for row in rows]
    (whole,) = [row for row in rows if "waiting_percent" in row]
    assert 0 <= whole["waiting_percent"] <= 100
    assert whole["loader_images_per_second"] > 0
    assert f"| {whole['what']} |" in page


def test_an_estimate_counts_a_step_at_its_real_size_without_computing_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), "--estimate", "H200", "--only", "baseline"])
    with benchmark(monkeypatch, "gpu") as script:
        script.main()
        (row,) = json.loads((tmp_path / "gpu_estimate_h200.json").read_text(encoding="utf-8"))["rows"]
        kept = json.loads((RESULTS / "gpu_estimate_h200.json").read_text(encoding="utf-8"))["rows"]
        assert script.estimate_table(kept) in (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    # ResNet-50: 4.1 GMAC at 224 x 224; without its stride the last stage has four times its 0.8. Forward once, backward twice.
    assert row["tflop"] == pytest.approx(128 * 3 * 2 * (4.1 + 3 * 0.8) * 1e-3 * (256 * 128) / 224**2, rel=0.1)
    assert row["images_per_second_at_most"] == pytest.approx(128 / row["in_turn_seconds"])
    (own,) = [one for one in kept if one["what"] == row["what"]]
    assert row["tflop"] == pytest.approx(own["tflop"], rel=1e-3)


def test_what_does_not_fit_the_time_is_named(monkeypatch, tmp_path):
    with benchmark(monkeypatch, "gpu") as script:
        rows, page = run(script, monkeypatch, tmp_path, "--sections", "steps", "--minutes", "0", "--only", "baseline")
    assert [row["left_out"] for row in rows] == ["the time was over"]
    assert "* baseline, bf16: the time was over" in page
