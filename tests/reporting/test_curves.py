"""Curves: what is read of a run's rows, and that what is drawn is the data."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.evaluation.scores import Score, TrialScore
from crossreid.reporting.curves import History, cmc_chart, history_of, history_panel


def parsed(chart):
    """The chart as a tree; inside a page its namespaces go without saying."""
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return ElementTree.fromstring(f"<g {spaces}>{chart}</g>")


def line(chart, shade):
    """`(N, 2)` corner points of the first open line drawn in a colour."""
    for path in parsed(chart).iter("{http://www.w3.org/2000/svg}path"):
        style = path.get("style", "")
        if "fill: none" in style and f"stroke: var(--{shade})" in style:
            return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d")), dtype=np.float64)
    raise AssertionError(f"no line in {shade}")


def score(*curves, chance=0.1):
    trials = tuple(
        TrialScore(number, np.array(curve, dtype=np.float64), 0.5, 0.4, 10, 0, chance)
        for number, curve in enumerate(curves, start=1)
    )
    return Score("regdb", "visible to thermal", "euclidean", "none", "every image", "every image", trials)


def test_drawn_cmc_is_the_mean_curve_with_chance_below():
    first = score([0.2, 0.5, 0.6, 0.9, 1.0], [0.4, 0.5, 0.8, 0.9, 1.0])
    second = score([0.1, 0.2, 0.3, 0.4, 0.5])
    chart = cmc_chart([(0, "ours", first), (1, "theirs", second)], "c")
    one, two, chance = line(chart, "s1"), line(chart, "s2"), line(chart, "muted")
    assert (np.diff(one[:, 0]) > 0).all()
    # One scale holds for all lines: what is drawn is an affine function of the value.
    values = np.array([0.3, 0.5, 0.7, 0.9, 1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.1])
    heights = np.concatenate([one[:, 1], two[:, 1], chance[:1, 1]])
    slope, offset = np.polyfit(values, heights, 1)
    assert slope < 0
    np.testing.assert_allclose(heights, slope * values + offset, atol=1e-3)
    assert "ours: 30.0% at rank 1, 100.0% at rank 5" in chart
    assert "chance 10.0% at rank 1" in chart


def test_a_band_is_drawn_for_several_trials_only():
    many = cmc_chart([(0, "a", score([0.2, 0.6], [0.4, 0.6]))], "c")
    single = cmc_chart([(0, "a", score([0.2, 0.6]))], "c")
    assert "fill-opacity: 0.14" in many
    assert "fill-opacity: 0.14" not in single


def test_charts_take_every_colour_from_the_page_and_no_two_share_an_identifier():
    charts = [cmc_chart([(0, "a", score([0.2, 0.6, 1.0]))], prefix) for prefix in ("x", "y")]
    found = [set(re.findall(r'\bid="([^"]+)"', chart)) for chart in charts]
    assert found[0]
    assert not found[0] & found[1]
    for chart, names in zip(charts, found, strict=True):
        assert not re.search(r"#[0-9a-fA-F]{6}", chart)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', chart)) <= names
        assert "DejaVu" not in chart
        assert "<metadata" not in chart
    assert charts[0] == cmc_chart([(0, "a", score([0.2, 0.6, 1.0]))], "x")


def test_names_that_look_like_markup_or_formulas_are_only_text():
    chart = cmc_chart([(0, '<b>"$\\frac$"', score([0.2, 0.6]))], "c")
    assert '<b>"$\\frac$": 20.0% at rank 1' in next(iter(parsed(chart))).get("aria-label")


def test_history_reads_losses_totals_and_validation_and_nothing_else():
    rows = [
        {"step": 2, "epoch": 0, "losses": {"id": 1.5, "vsd": float("nan")}, "total": 1.5, "lr": 0.1, "note": "x"},
        {"step": 1, "epoch": 0, "losses": {"id": 2.0, "vsd": 0.5}, "total": 2.5, "images_per_second": 9.0},
        {"step": 2, "epoch": 0, "losses": {"id": 1.0}},
        {"step": 2, "epoch": 0, "validation": {"mAP": 0.25, "trials": [1]}},
        {"epoch": 0, "losses": {"id": 7.0}},
        {"step": 3, "losses": None, "done": True},
    ]
    losses, checks = history_of(rows)
    assert {name: (c.steps.tolist(), c.values.tolist()) for name, c in losses.items()} == {
        "id": ([1, 2], [2.0, 1.0]),
        "vsd": ([1], [0.5]),
        "total": ([1, 2], [2.5, 1.5]),
    }
    assert {name: (c.steps.tolist(), c.values.tolist()) for name, c in checks.items()} == {"mAP": ([2], [0.25])}
    assert history_of([]) == ({}, {})


@given(st.integers(1, 900), st.integers(0, 5))
@settings(max_examples=25)
def test_a_long_curve_is_drawn_with_few_points_that_stay_on_a_straight_line(count, seed):
    steps = np.cumsum(np.random.default_rng(seed).integers(1, 5, count)).astype(np.float64)
    chart = history_panel("id", [(0, "a", History(steps, 3.0 - 2e-3 * steps))], "h")
    drawn = line(chart, "s1")
    assert len(drawn) <= 160
    assert len(drawn) == count or count > 2
    if len(drawn) > 2:
        # A straight line stays straight when equal spans of it are averaged.
        (slope, offset), *_ = np.polyfit(drawn[:, 0], drawn[:, 1], 1), None
        np.testing.assert_allclose(drawn[:, 1], slope * drawn[:, 0] + offset, atol=0.01)


def test_scale_is_logarithmic_where_values_span_orders_of_magnitude():
    steps = np.arange(1.0, 50.0)
    wide = history_panel("vsd", [(2, "a", History(steps, 10.0 ** (-steps / 10)))], "h")
    assert "logarithmic scale" in wide
    drawn = line(wide, "s3")
    slope, offset = np.polyfit(drawn[:, 0], drawn[:, 1], 1)
    np.testing.assert_allclose(drawn[:, 1], slope * drawn[:, 0] + offset, atol=0.01)
    assert "logarithmic" not in history_panel("id", [(0, "a", History(steps, 50.0 - steps))], "h")
    assert "logarithmic" not in history_panel("x", [(0, "a", History(steps, steps - 25.0))], "h")


def test_validation_is_told_in_percent():
    chart = history_panel("mAP", [(0, "a", History(np.array([1.0, 2.0]), np.array([0.125, 0.5])))], "v", fraction=True)
    assert "a from 12.5% to 50.0%" in chart


def test_a_curve_of_one_point_is_drawn():
    chart = history_panel("id", [(0, "a", History(np.array([4.0]), np.array([2.0])))], "h")
    assert chart.count("<use ") >= 1
    assert "from 2 to 2" in chart


@pytest.mark.parametrize("length", [1, 2, 30])
def test_cmc_of_any_length(length):
    chart = cmc_chart([(0, "a", score(np.linspace(0.5, 1, length)))], "c")
    assert "50.0% at rank 1" in chart
