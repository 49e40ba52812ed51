"""The table of what probes read, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from crossreid.analysis.factors import GROUPS
from crossreid.reporting.study_table import spread


def summary_table(table: Mapping[str, Any]) -> Table:
    """Linear probes' shares in percent, a column a method, mean and deviation over its runs."""
    methods = table["methods"]
    view = Table(title="share that a linear probe reads (percent)", box=SIMPLE_HEAD, pad_edge=False)
    view.add_column("off", no_wrap=True)
    view.add_column("factor", no_wrap=True)
    for method in methods:
        view.add_column(method["name"], justify="right")
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
