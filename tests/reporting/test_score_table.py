"""The table: every figure where it belongs, and nothing quoted without its conditions."""

import html
import math
import re

import numpy as np
import pytest

from crossreid.evaluation.scores import Score, TrialScore
from crossreid.reporting.score_table import ScoredMethod, bars, scored_settings, table


def score(
    rank1, mean, *, setting="all, single-shot", spread=0.0, metric="cosine", draw="seeded draw (seed 0)", skipped=3
):
    """Two trials `spread` to either side of the given rank-1 and mAP."""
    trials = tuple(
        TrialScore(
            number, np.array([rank1 + sign * spread, *[0.9] * 30]), mean + sign * spread, mean / 2, 40, skipped, 0.02
        )
        for number, sign in ((1, -1), (2, 1))
    )
    return Score("sysu-mm01", setting, metric, "none", draw, "first image of each identity", trials)


def rows_of(text):
    """Cells of each body row as plain text, without the small print."""
    body = re.search(r"<tbody>(.*)</tbody>", text).group(1)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body)
    plain = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", re.sub(r"<small>.*?</small>|<i .*?</i>", "", row)) for row in rows
    ]
    return [[html.unescape(cell).strip() for cell in row] for row in plain]


ENTRIES = (
    ScoredMethod("Ours", "a note", (score(0.5, 0.4, spread=0.01), score(0.7, 0.6, setting="indoor, single-shot"))),
    ScoredMethod("Theirs & <co>", "", (score(0.25, 0.45, spread=0.02),)),
)


def test_settings_are_in_order_of_occurrence_with_who_was_scored():
    settings = scored_settings(ENTRIES)
    assert [setting.title for setting in settings] == ["sysu-mm01, all, single-shot", "sysu-mm01, indoor, single-shot"]
    assert [[place for place, _, _ in setting.rows] for setting in settings] == [[0, 1], [0]]


def test_figures_are_percentages_in_their_columns():
    text = table(scored_settings(ENTRIES)[0], published=False)
    heads = re.findall(r'<th scope="col">(.*?)</th>', text)
    assert heads == ["method", "rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP", "chance"]
    assert rows_of(text) == [
        ["Ours", "50.00", "90.00", "90.00", "90.00", "40.00", "20.00", "2.00"],
        ["Theirs & <co>", "25.00", "90.00", "90.00", "90.00", "45.00", "22.50", "2.00"],
    ]
    assert "<small>± 1.00</small>" in text
    assert "<small>± 2.00</small>" in text
    best = [html.unescape(cell) for cell in re.findall(r'<td class="best">([\d.]+)', text)]
    assert best == ["50.00", "90.00", "90.00", "90.00", "90.00", "90.00", "90.00", "45.00", "22.50"]


def test_conditions_are_told_once_where_alike_and_by_method_where_not():
    alike = table(scored_settings(ENTRIES)[0], published=False)
    facts = [html.unescape(" ".join(pair)) for pair in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", alike)]
    assert facts == [
        "protocol sysu-mm01", "setting all, single-shot", "metric cosine", "excluded none",
        "CMC counts first image of each identity", "gallery draw seeded draw (seed 0)", "trials 2", "queries 40",
        "skipped queries (no match) 3", "average precision by steps", "normalised no", "re-ranked no",
    ]  # fmt: skip
    mixed = (*ENTRIES, ScoredMethod("Third", "", (score(0.1, 0.1, metric="euclidean", draw="official permutations"),)))
    text = table(scored_settings(mixed)[0], published=False)
    lists = re.findall(r'<dl class="conditions">(.*?)</dl>', text)
    assert len(lists) == 4
    assert "metric" not in lists[0]
    assert "Third" in lists[3]
    assert re.findall(r"<dd>(.*?)</dd>", lists[3]) == ["euclidean", "official permutations"]


def test_published_figures_come_with_their_source_only_where_asked_for():
    setting = scored_settings(ENTRIES)[0]
    assert "published" not in table(setting, published=False)
    rows = rows_of(table(setting, published=True))
    # Tian et al., CVPR 2021, Table of SYSU-MM01, all search, single-shot.
    assert rows[2:] == [["Variational distillation", "60.02", "–", "94.18", "98.14", "58.80", "–", "–"]]
    assert "Farewell to Mutual Information" in table(setting, published=True)


def test_bars_start_at_zero_and_the_longest_is_full_with_its_error_bar():
    setting = scored_settings(ENTRIES)[0]
    text = bars(setting)
    (best, *_), *others = ([s.rank(1), s.spread("rank-1")] for _, _, s in setting.rows)
    full = best + setting.rows[0][2].spread("rank-1")
    widths = [float(width) for width in re.findall(r'class="bar" style="width: ([\d.]+)%', text)]
    assert widths == pytest.approx([100 * best / full, 100 * others[0][0] / full, 4 * best / full], abs=0.006)
    ends = [(float(left), float(width)) for left, width in re.findall(r"left: ([\d.]+)%; width: ([\d.]+)%", text)]
    for (value, spread), (left, width) in zip([[best, full - best], *others], ends, strict=True):
        assert (left, width) == pytest.approx((100 * (value - spread) / full, 200 * spread / full), abs=0.006)
    assert "Theirs &amp; &lt;co&gt;" in text
    assert "25.0 × chance" in text
    assert float(re.search(r"--chance: ([\d.]+)", text).group(1)) == pytest.approx(0.04 * best / full, abs=0.0001)


def test_a_figure_that_is_not_known_is_a_dash():
    text = table(scored_settings((ScoredMethod("One", "", (score(0.5, math.nan),)),))[0], published=False)
    assert rows_of(text) == [["One", "50.00", "90.00", "90.00", "90.00", "–", "–", "2.00"]]
    assert "nan" not in text
