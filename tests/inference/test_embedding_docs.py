"""What docs/search.md says of embedding is so."""

import json
import os
import re
import runpy
from pathlib import Path

from crossreid.inference.bulk.job import embed_records
from embedding_jobs import JOB

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_reads_what_was_embedded(tmp_path, model, records, monkeypatch, capsys):
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    (shown,) = (
        block.split("```")[0] for block in page.split("```python\n")[1:] if "read_embeddings" in block.split("```")[0]
    )
    embed_records(model, records[:3], tmp_path / "embeddings" / "mine", **JOB)
    monkeypatch.chdir(tmp_path)
    exec(compile(shown, "docs/search.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["(3,", "704)", records[0].path.as_posix(), model.fingerprint[:12]]


def test_figures_say_what_they_were_measured_on(tmp_path):
    told = "processor : 0\nmodel name\t: Some CPU 9000\nflags\t\t: fpu avx2 avx512f amx_tile sse\n"
    (tmp_path / "cpuinfo").write_text(f"{told}\n{told.replace('9000', '1')}")
    machine = runpy.run_path(str(ROOT / "benchmarks" / "machine.py"))["machine"]
    found = machine(tmp_path / "cpuinfo")
    assert (found["processor"], found["flags"]) == ("Some CPU 9000", ["amx_tile", "avx2", "avx512f"])
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert machine(tmp_path / "none")["flags"] == []


def test_the_page_shows_what_was_measured():
    root = ROOT
    measured = json.loads((root / "benchmarks" / "results" / "embedding_cpu.json").read_text(encoding="utf-8"))
    table = runpy.run_path(str(root / "benchmarks" / "embedding.py"))["markdown_table"](measured["cases"])
    assert table in (root / "docs" / "search.md").read_text(encoding="utf-8")
