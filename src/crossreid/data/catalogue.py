"""The catalogue of data sets: a name, what reads it, and where its layout is described."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from crossreid.data.readers import atrw, duke_video, llcm, manifest, mars, regdb, sysu_mm01, veri_776
from crossreid.data.records import DataError, Split


@dataclass(frozen=True, slots=True)
class Description:
    """A data set: `parse(root, **options)` reads a copy of it; `page` anchors in docs/datasets.md."""

    title: str
    parse: Callable[..., Split]
    page: str


DATASETS: dict[str, Description] = {
    "sysu-mm01": Description("SYSU-MM01", sysu_mm01.parse, "sysu-mm01"),
    "regdb": Description("RegDB", regdb.parse, "regdb"),
    "llcm": Description("LLCM", llcm.parse, "llcm"),
    "mars": Description("MARS", mars.parse, "mars"),
    "duke-video": Description("DukeMTMC-VideoReID", duke_video.parse, "duke-video"),
    "veri-776": Description("VeRi-776", veri_776.parse, "veri-776"),
    "atrw": Description("ATRW", atrw.parse, "atrw"),
    "manifest": Description("manifest", manifest.parse, "manifest"),
}


def load(name: str, root: Path, **options: Any) -> Split:
    """Read the data set `name` at `root`, with its reader's options.

    Raises:
        DataError: an unknown name or option, a missing root, or what the reader finds wrong.
    """
    parse = describe(name).parse
    known = [key for key in inspect.signature(parse).parameters if key != "root"]
    for option in options:
        if option not in known:
            raise DataError(f"{name}: option {option!r} is unknown.{_guess(option, known)} Known: {', '.join(known)}.")
    root = Path(root)
    if not root.exists():
        raise DataError(f"{name}: root {root} not found. Give the folder of your copy (docs/datasets.md#{name}).")
    return parse(root, **options)


def describe(name: str) -> Description:
    """The catalogue's entry, or `DataError` with the nearest name."""
    if name not in DATASETS:
        raise DataError(f"data set {name!r} is unknown.{_guess(name, list(DATASETS))} Known: {', '.join(DATASETS)}.")
    return DATASETS[name]


def _guess(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""
