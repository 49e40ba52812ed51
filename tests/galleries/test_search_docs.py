"""docs/search.md: its Python runs, its figures are those that were measured; and the benchmark that measured them runs."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
RESULT = ROOT / "benchmarks" / "results" / "search_gallery_cpu.json"


def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = (code for code in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S) if "open_gallery" in code)
    rows = np.random.default_rng(0).standard_normal((2, 256))
    exec(code, {"embedding": rows[0], "query": rows[1]})
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert capsys.readouterr().out == f"('cam3/0031.jpg',) [{cosine:.8f}]\n"


def test_figures_are_those_that_were_measured():
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "search.py"))
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    assert (measured["entries"], measured["dimension"]) == (1_000_000, 256)
    assert benchmark["markdown"](measured) in PAGE, "put into docs/search.md what benchmarks/search.py prints"


def test_the_benchmark_runs(tmp_path, monkeypatch, capsys):
    # Beside other tests, threads of faiss wait for each other in a loop.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(
        sys, "argv",
        ["search.py", "gallery", "--entries", "2000", "--singles", "20", "--batches", "1", "--index", "hnsw", "--index", "ivf-pq",
         "--folder", str(tmp_path), "--json", str(tmp_path / "result.json")],
    )  # fmt: skip
    runpy.run_path(str(ROOT / "benchmarks" / "search.py"), run_name="__main__")
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["index"] for row in result["rows"][::2]] == ["exact", "exact", "hnsw", "hnsw", "ivf-pq", "ivf-pq"]
    for row in result["rows"]:
        assert row["recall@10"] == 1.0 or row["index"] in ("hnsw", "ivf-pq")
        assert row["recall@10"] > 0.9
        assert 0 < row["p50 ms"] <= row["p99 ms"]
    assert result["bytes on disk"]["hnsw"] > result["bytes on disk"]["exact"] > 4 * 256 * 2000
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert "| exact | 32 |" in capsys.readouterr().out
