"""Tables and figures of studies whose figures are known."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from crossreid.reporting.drawing import save
from crossreid.reporting.study_plot import draw_estimators, draw_probes, draw_study
from crossreid.reporting.study_table import markdown_table, terminal_table


def row(key, values, *, group="all three branches", published=None, place=None, seeds=(0, 1, 2)):
    figures = {space: {name: list(values) for name in ("rank-1", "mAP", "mINP")} for space in ("v", "z", "both")}
    return {"key": key, "title": key, "group": group, "method": "m", "place": place, "published": published,
            "seeds": list(seeds), "seconds": [1.0], "validation": [0.1], "figures": figures}  # fmt: skip


def study(rows, *, axis=None, reference="a"):
    return {"study": "s", "title": "a study", "axis": axis, "reference": reference, "protocol": "sysu-mm01",
            "setting": "all, single-shot", "chance": 0.025, "rows": rows}  # fmt: skip


TABLE = study([row("a", [0.30, 0.32, 0.34]), row("b", [0.25, 0.29, 0.33], published={"rank-1": 0.3043, "mAP": 0.3367})])


def test_the_table_gives_means_spreads_differences_and_the_published_row():
    text = markdown_table(TABLE)
    cells = [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith("| b")).split("|")]
    assert cells[2] == "29.0 ± 4.0"
    # Seed by seed: -5, -3, -1.
    assert cells[6] == "-3.0 ± 2.0"
    assert cells[7] == "30.43 / 33.67"
    assert "seeds 0, 1, 2" in text
    assert "not re-ranked" in text
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(TABLE))
    shown = console.export_text()
    assert "29.0±4.0" in shown
    assert "-3.0±2.0" in shown
    assert "…" not in shown


def test_differences_are_of_the_seeds_that_both_have():
    table = study([row("a", [0.30, 0.32]), row("b", [0.33], seeds=[1])])
    table["rows"][0]["seeds"] = [0, 1]
    line = next(line for line in markdown_table(table).splitlines() if line.startswith("| b"))
    assert "+1.0" in line
    apart = study([row("a", [0.3], seeds=[0]), row("b", [0.3], seeds=[1])])
    assert "| b | 30.0 | 30.0 | 30.0 | 30.0 |  |" in markdown_table(apart)


@pytest.mark.parametrize("table", [TABLE, study([row(str(size), [0.1, 0.2], place=size) for size in (8.0, 16.0)],
                                               axis="width of z")])  # fmt: skip
def test_figures_are_written_twice_and_the_same_each_time(table, tmp_path):
    written = save(draw_study(table), tmp_path / "one", "figure")
    assert [path.name for path in written] == ["figure.svg", "figure.png"]
    assert written[1].read_bytes()[:4] == b"\x89PNG"
    again = save(draw_study(table), tmp_path / "two", "figure")
    for first, second in zip(written, again, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert not list((tmp_path / "one").glob(".*"))


def test_every_seed_is_a_dot_and_every_mean_where_it_belongs():
    axes = draw_study(TABLE).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(np.concatenate([dot.get_xdata() for dot in dots]).round(6)) == sorted(
        np.array([30, 32, 34, 25, 29, 33] * 3, dtype=float)
    )
    bars = [line for line in axes.lines if line.get_marker() == "None" and len(set(line.get_xdata())) == 1]
    assert {round(float(bar.get_xdata()[0]), 6) for bar in bars} >= {32.0, 29.0}


def test_the_line_of_chance_is_clear_of_the_groups_headings():
    """Headings begin at the left, where chance is."""
    drawn = draw_study(study([row("a", [0.3]), row("b", [0.2]), row("c", [0.1], group="one branch")]))
    axes = drawn.axes[0]
    headings = [text.get_window_extent() for text in axes.texts]
    assert len(headings) == 2
    chance = [line for line in axes.lines if (np.asarray(line.get_xdata()) == 2.5).all()]
    assert len(chance) == 3, "one a row"
    for line in chance:
        (_, low), (_, high) = axes.transData.transform(np.column_stack(line.get_data()))
        assert high > low
        assert not any(heading.y0 < high and low < heading.y1 for heading in headings)


def test_a_sweep_is_drawn_over_its_axis():
    table = study([row(str(size), [0.1 * place, 0.1 * place + 0.02], place=size) for place, size in
                   enumerate((8.0, 16.0, 32.0), 1)], axis="width of z")  # fmt: skip
    axes = draw_study(table).axes[0]
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(curve.get_xdata(), [8, 16, 32])
    np.testing.assert_allclose(curve.get_ydata(), [11, 21, 31])
    assert axes.get_xscale() == "log"


def test_probes_are_bars_as_high_as_what_is_read():
    groups = [
        {"stream": "shared", "space": space, "probe": "linear", "group": group, "kind": "", "shares": [0.2, 0.4]}
        for space in ("v", "z")
        for group in ("identity", "camera")
    ]
    drawn = draw_probes({"methods": [{"name": "vd", "runs": 2, "groups": groups}]}, {"vd": "VD"})
    assert [round(float(bar.get_height()), 6) for bar in drawn.axes[0].patches] == [30.0, 30.0]
    assert [text.get_text() for text in drawn.axes[1].get_legend().get_texts()] == ["VD"]


def test_estimates_are_drawn_beside_the_truth(tmp_path):
    rows = [
        {"estimator": kind, "dimension": 4, "truth": truth, "seed": seed, "batch": 64, "steps": 1, "nats": truth / 2 + seed,
         "spread": 0.1}
        for kind in ("infonce", "nwj") for truth in (1.0, 4.0) for seed in (0, 1)
    ]  # fmt: skip
    drawn = draw_estimators(rows)
    assert [axes.get_title("left") for axes in drawn.axes] == ["infonce", "nwj"]
    curve = next(line for line in drawn.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_allclose(curve.get_ydata(), [1.0, 2.5])
    svg = save(drawn, tmp_path, "estimators")[0].read_text(encoding="utf-8")
    assert re.search(r"<svg", svg)
