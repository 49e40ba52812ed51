"""Tables on how trained runs use views, for a terminal: means and deviations over runs, in percent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Group

from crossreid.analysis.pair_distances import KINDS, plural
from crossreid.reporting.study_table import spread
from crossreid.terminal import FigureTable

COMPARISONS = {"gallery": "an image to n images", "query": "n images to video"}


def images_table(table: Mapping[str, Any]) -> Group:
    """Return rank-1 and mAP per name, one column per number of images; in 80 columns, one table per kind of comparison."""
    views = []
    for direction, side in dict.fromkeys((row["direction"], row["side"]) for row in table["rows"]):
        rows = [row for row in table["rows"] if (row["direction"], row["side"]) == (direction, side)]
        counts = [str(count) if count else "all" for count in table["counts"]]
        view = FigureTable(
            f"{f'{direction}, ' if direction else ''}{COMPARISONS[side]}, %", ["n", "", *counts], names=2
        )
        for name in dict.fromkeys(row["name"] for row in rows):
            for figure in ("rank-1", "mAP"):
                each = [
                    [row[figure] for row in rows if (row["name"], row["images"]) == (name, count)]
                    for count in table["counts"]
                ]
                view.add_row(name, figure, *(spread(values).replace(" ", "") for values in each))
        views.append(view)
    return Group(*views)


def cameras_table(table: Mapping[str, Any]) -> FigureTable:
    """Return the accuracy of the probe, and of always naming the most frequent camera, over all runs and splits."""
    view = FigureTable(
        f"camera predicted from single images, %, over runs and {table['divisions']} splits",
        ["", "modality", "accuracy", "most frequent", "entropy read"], names=2,
    )  # fmt: skip
    for name, modality in dict.fromkeys((row["name"], row["modality"]) for row in table["rows"]):
        own = [one for row in table["rows"] if (row["name"], row["modality"]) == (name, modality)
               for one in row["readings"]]  # fmt: skip
        view.add_row(name, modality, *(spread([one[key] for one in own]) for key in ("accuracy", "prior", "share")))
    return view


def distances_table(table: Mapping[str, Any]) -> FigureTable:
    """Return mean and deviation of the distances of each kind of pair, and how well they separate identities."""
    place = table["place"]
    view = FigureTable(
        f"{table['metric']} distances of pairs of images: mean ± deviation over pairs",
        ["", f"same {place}", f"across {plural(place)}", "different", "AUC"],
    )  # fmt: skip
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


def attention_table(table: Mapping[str, Any]) -> FigureTable:
    """Return the similarity that each map explains: one row per image, one column per name."""
    rows = table["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    view = FigureTable("similarity of the image to its identity's mean", ["identity", "camera", *names], names=2)
    for image in dict.fromkeys(row["image"] for row in rows):
        own = {row["name"]: row for row in rows if row["image"] == image}
        first = own[names[0]]
        view.add_row(first["identity"], str(first["camera"]), *(f"{own[name]['similarity']:.3f}" for name in names))
    return view
