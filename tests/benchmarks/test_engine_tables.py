"""The tables of engines and of lower precisions are those that were measured."""

import json
from pathlib import Path

import pytest

from benchmark_modules import benchmark

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["engines", "quantisation"])
def test_tables_of_the_page_are_those_that_were_measured(name, monkeypatch):
    measured = json.loads((ROOT / "benchmarks" / "results" / f"{name}_cpu.json").read_text(encoding="utf-8"))
    with benchmark(monkeypatch, name) as script:
        assert script.markdown_table(measured.get("cases", measured)) in PAGE
