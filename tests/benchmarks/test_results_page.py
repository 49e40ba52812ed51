"""docs/results.md is what benchmarks/results holds: no file without a description, no figure that is not in one."""

import json
from pathlib import Path

import pytest

from benchmark_modules import benchmark
from crossreid.errors import CrossreidError
from crossreid.reporting.study_table import markdown_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def writer(monkeypatch):
    with benchmark(monkeypatch, "results_page") as found:
        yield found


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


def test_networks_starts_and_sets_have_the_figures_of_their_files(writer):
    sections = dict(section.split("\n", 1) for section in writer.page().split("\n## ")[1:])
    scores = json.loads((writer.RESULTS / "networks_cpu.json").read_text(encoding="utf-8"))["scores"]
    for network, each in scores.items():
        for photographs, found in each.items():
            pixels = found["Raw pixels"]
            figures = " | ".join(f"{100 * pixels[key]:.1f}" for key in ("rank-1", "mAP", "mINP"))
            row = f"| {photographs} | {network}, raw pixels | {figures} |"
            assert row in sections["Networks that were not trained here"]
    starts = json.loads((writer.RESULTS / "fine_tuning_cpu.json").read_text(encoding="utf-8"))
    for row in starts["table"]:
        said = next(
            line
            for line in sections["What initial weights are worth"].split("\n")
            if line.startswith(f"| {row['images']} | {row['way']} | {row['seeds']} |")
        )
        assert said.split("|")[4].split()[0] == f"{row['rank-1']:.1f}"
    assert "| trained on nyala | " in sections["One data set left out, photographs"]


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


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("methods/strong_baseline.md", "cattle_best_cpu.json"),
        ("methods/strong_baseline.md", "cattle_best_parts_cpu.json"),
        ("methods/strong_baseline.md", "pretrained_rendered_cpu.json"),
        ("variational_distillation.md", "cattle_vd_cpu.json"),
        ("variational_distillation.md", "cattle_ablation_cpu.json"),
        ("variational_distillation.md", "cattle_weight_cpu.json"),
        ("variational_distillation.md", "cattle_z_size_cpu.json"),
        ("variational_distillation.md", "cattle_longer_cpu.json"),
        ("view_distillation.md", "cattle_bursts_cpu.json"),
        ("implicit_knowledge.md", "cattle_order_cpu.json"),
    ],
)
def test_tables_of_other_pages_are_what_was_measured(page, file):
    measured = json.loads((ROOT / "benchmarks" / "results" / file).read_text(encoding="utf-8"))
    assert markdown_table(measured["table"]).strip() in (ROOT / "docs" / page).read_text(encoding="utf-8")
