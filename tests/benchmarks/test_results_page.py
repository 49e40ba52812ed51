"""docs/results.md is what benchmarks/results holds: no file without a description, no figure that is not in one."""

import json
import sys
from pathlib import Path

import pytest

from crossreid.errors import CrossreidError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import results_page

    yield results_page
    sys.modules.pop("results_page", None)


def test_the_page_is_what_its_command_writes(writer):
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run python benchmarks/results_page.py --write"


def test_a_figure_on_the_page_is_the_mean_of_the_seeds_in_its_file(writer):
    rows = json.loads((writer.RESULTS / "study_vd.json").read_text(encoding="utf-8"))["rows"]
    values = next(row for row in rows if row["key"] == "shared-ib")["figures"]["z"]["rank-1"]
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    section = (
        writer.page().split("## Variational distillation, objectives and branches")[1].split("**shared branch**")[1]
    )
    assert section.split("\n")[1].split("|")[3].strip() == f"{100 * mean:.1f} ± {100 * spread:.1f}"


def test_a_file_that_is_not_described_is_refused(writer, tmp_path, monkeypatch):
    (tmp_path / "sources.yaml").write_text("known.json: {title: Known}\n", encoding="utf-8")
    for name in ("known.json", "stray.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(writer, "RESULTS", tmp_path)
    with pytest.raises(CrossreidError, match=r"not described \['stray.json'\]"):
        writer.sources()


def test_every_recipe_of_a_public_data_set_is_said_to_be_never_run(writer):
    never = writer.page().split("## Never run")[1]
    for name in ("vd_sysu-mm01_official.yaml", "vkd_mars.yaml", "idkl_llcm_paper.yaml", "agw_regdb.yaml"):
        assert f"| {name} |" in never
    assert "synthetic" not in never
    assert "manifest" not in never
