"""docs/clustering.md shows what was measured, and the benchmark that measured it runs."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from crossreid.cli.app import main
from crossreid.clustering.crops import crops_of_folder
from embedded import write_folder

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clustering.md").read_text(encoding="utf-8")
BENCHMARK = ROOT / "benchmarks" / "clustering.py"
PHOTOGRAPHS = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize(("name", "table"), [("clustering_scale", "scale"), ("clustering", "accuracy")])
def test_tables_are_those_that_were_measured(name, table):
    measured = json.loads((ROOT / "benchmarks" / "results" / f"{name}_cpu.json").read_text(encoding="utf-8"))
    assert runpy.run_path(str(BENCHMARK))[f"markdown_of_{table}"](measured) in PAGE


def test_the_benchmark_runs(tmp_path, monkeypatch, capsys):
    benchmark = runpy.run_path(str(BENCHMARK))
    for way in benchmark["WAYS"]:
        row = benchmark["measure"](400, way)
        assert (row["crops"], row["clusters"], row["bcubed_f"]) == (400, 20, 1.0)
    write_folder(tmp_path / "folder", count=120)
    choosing, scored = benchmark["halves"](crops_of_folder(tmp_path / "folder"))
    assert {*choosing.identities} & {*scored.identities} <= {None}
    monkeypatch.setattr(
        sys, "argv", ["clustering.py", "accuracy", f"a=b={tmp_path}/folder", "--json", f"{tmp_path}/r.json"]
    )
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["method"] for row in rows] == list(benchmark["WAYS"])
    assert "| a=b | components |" in capsys.readouterr().out


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs here")
def test_copies_among_photographs_are_found(tmp_path):
    """Of one nyala there are photographs that are there twice, byte by byte."""
    from crossreid.runs.named_network import PretrainedNetwork

    weights = PHOTOGRAPHS.parent / "weights" / "tf_efficientnet_lite0.safetensors"
    if not weights.is_file():
        pytest.skip("no weights here")
    import crossreid

    network = PretrainedNetwork("tf_efficientnet_lite0", str(weights), 64, 80)
    crossreid.embed(network, PHOTOGRAPHS / "nyala" / "218", tmp_path / "embedded", workers=0, device="cpu")
    with pytest.raises(SystemExit) as ended:
        main(["cluster", str(tmp_path / "embedded"), "--threshold", "0.999", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["duplicates"]["bytes"] >= 3
    assert summary["manifest"]["images"] >= 6
