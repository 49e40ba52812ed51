"""The table of probe results, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossreid.analysis.factors import GROUPS
from crossreid.reporting.study_table import spread
from crossreid.terminal import FigureTable


def summary_table(table: Mapping[str, Any]) -> FigureTable:
    """Return linear probes' shares in percent, one column per method, mean and deviation over its runs."""
    methods = table["methods"]
    heads = ["off", "factor", *(method["name"] for method in methods)]
    view = FigureTable("share read by a linear probe (percent)", heads, names=2, justify="center")
    wanted = [row for row in methods[0]["groups"] if row["probe"] == "linear"]
    order = (*GROUPS, "hidden visible-only", "hidden infrared-only")
    for row in sorted(wanted, key=lambda row: (row["stream"], row["space"], order.index(row["group"]))):
        key = (row["stream"], row["space"], "linear", row["group"])
        cells = []
        for method in methods:
            (own,) = [r for r in method["groups"] if (r["stream"], r["space"], r["probe"], r["group"]) == key]
            cells.append(spread(own["shares"]))
        view.add_row(f"{row['stream']} {row['space']}", row["group"], *cells)
    return view
