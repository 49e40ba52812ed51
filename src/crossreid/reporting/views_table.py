"""Tables of what trained runs make of views, for a terminal: means and deviations over runs, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from crossreid.analysis.pair_distances import KINDS, plural
from crossreid.reporting.study_table import spread

COMPARISONS = {"gallery": "an image to n images", "query": "n images to video"}


def images_table(table: Mapping[str, Any]) -> Group:
    """Rank-1 and mAP of each name, a column a number of images; in 80 columns, a table a kind of comparison."""
    views = []
    for direction, side in dict.fromkeys((row["direction"], row["side"]) for row in table["rows"]):
        rows = [row for row in table["rows"] if (row["direction"], row["side"]) == (direction, side)]
        view = _view(f"{f'{direction}, ' if direction else ''}{COMPARISONS[side]}, %", "n", "")
        for count in table["counts"]:
            view.add_column(str(count) if count else "all", justify="right", no_wrap=True)
        for name in dict.fromkeys(row["name"] for row in rows):
            for figure in ("rank-1", "mAP"):
                each = [
                    [row[figure] for row in rows if (row["name"], row["images"]) == (name, count)]
                    for count in table["counts"]
                ]
                view.add_row(name, figure, *(spread(values).replace(" ", "") for values in each))
        views.append(view)
    return Group(*views)


def cameras_table(table: Mapping[str, Any]) -> Table:
    """Accuracy of the probe, and of naming the most frequent camera, over all runs and divisions."""
    view = _view(f"camera read off single images, %, over runs and {table['divisions']} divisions", "", "modality")
    for text in ("accuracy", "most frequent", "entropy read"):
        view.add_column(text, justify="right")
    for name, modality in dict.fromkeys((row["name"], row["modality"]) for row in table["rows"]):
        own = [one for row in table["rows"] if (row["name"], row["modality"]) == (name, modality)
               for one in row["readings"]]  # fmt: skip
        view.add_row(name, modality, *(spread([one[key] for one in own]) for key in ("accuracy", "prior", "share")))
    return view


def distances_table(table: Mapping[str, Any]) -> Table:
    """Mean and deviation of the distances of each kind of pair, and how well they tell identities apart."""
    place = table["place"]
    view = _view(f"{table['metric']} distances of pairs of images: mean ± deviation over pairs", "")
    for text in (f"same {place}", f"across {plural(place)}", "different", "AUC"):
        view.add_column(text, justify="right")
    for name in dict.fromkeys(row["name"] for row in table["rows"]):
        own = [row for row in table["rows"] if row["name"] == name]
        cells = []
        for kind in KINDS:
            each = [row["kinds"][kind] for row in own if row["kinds"][kind]["pairs"]]
            means = [float(np.mean([one[key] for one in each])) for key in ("mean", "deviation")] if each else []
            cells.append(" ± ".join(f"{mean:.3f}" for mean in means))
        aucs = np.array([row["auc"] for row in own])
        view.add_row(name, *cells, f"{aucs.mean():.3f}" + (f" ± {aucs.std(ddof=1):.3f}" if len(aucs) > 1 else ""))
    return view


def attention_table(table: Mapping[str, Any]) -> Table:
    """The similarity that each map explains: a row an image, a column a name."""
    rows = table["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    view = _view("similarity of the image to its identity's mean", "identity", "camera")
    for name in names:
        view.add_column(name, justify="right")
    for image in dict.fromkeys(row["image"] for row in rows):
        own = {row["name"]: row for row in rows if row["image"] == image}
        first = own[names[0]]
        view.add_row(first["identity"], str(first["camera"]), *(f"{own[name]['similarity']:.3f}" for name in names))
    return view


def _view(text: str, *columns: str) -> Table:
    view = Table(title=text, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        view.add_column(column)
    return view
