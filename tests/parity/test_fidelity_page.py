"""docs/fidelity.md has a row for every fixture and for every remaining difference from a release."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
sys.path.append(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("module", ["vd_cases", "vkd_cases", "idkl_cases", "agw_cases"])
def test_the_page_holds_every_fixture_and_every_deviation(module):
    """What the numbers are is written by `python benchmarks/fidelity.py --write`."""
    cases = importlib.import_module(module)
    fixtures = getattr(cases, "CASES", None) or cases.FILES
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]
    for name in fixtures:
        assert any(row.rpartition(" ")[2] == name or row == name for row in rows), name
    for deviation in cases.DEVIATIONS:
        assert f"| {deviation.quantity} | {deviation.release} | {deviation.ours} | {deviation.reason} |" in PAGE


def test_no_difference_on_the_page_exceeds_what_is_allowed():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines()]
    measured = [row for row in rows if len(row) == 7 and row[0] not in ("quantity", "---")]
    assert len(measured) > 40
    assert all(float(row[4]) <= float(row[5]) for row in measured)
