"""`WATCH/watch.json`: the inputs of a watch. It resumes only if all are the same; the error names differences."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import crossreid
from crossreid.data.records import DataError
from crossreid.files import read_json, sha256_of, short_digest, write_json
from crossreid.options import dotted

FILE = "watch.json"


def make_or_keep(folder: Path, facts: Mapping[str, Any], *, begun: bool = True) -> None:
    """Write the file of a new watch; raise `DataError` if the folder has that of another one.

    Args:
        facts: cameras by name and settings by key, as JSON values.
        begun: whether any frame was watched; otherwise the watch may be replaced by another.
    """
    path = folder / FILE
    if not (begun and path.is_file()):
        write_json(path, {"version": crossreid.__version__, **facts, "fingerprint": short_digest(facts)})
        return
    there = {key: value for key, value in read_json(path).items() if key in facts}
    if differ := differences(there, facts):
        raise DataError(
            f"{folder} belongs to another watch: {'; '.join(differ)}. Choose another --out, or delete that folder."
        )


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences: cameras that were removed or added, and others by dotted key."""
    old, new = there.get("cameras", {}), now.get("cameras", {})
    names = [f"camera {name} is gone" for name in old if name not in new]
    names += [f"camera {name} is new" for name in new if name not in old]
    before, after = (
        dotted(
            {
                **facts,
                "cameras": {name: one for name, one in facts.get("cameras", {}).items() if name in old and name in new},
            }
        )
        for facts in (there, now)
    )
    return names + [
        f"{key} was {_shown(before.get(key))}, is {_shown(after.get(key))}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def content_of(path: Path | None) -> str | None:
    """A file by its content, a folder by its files and their sizes; None for None. Anything but a path is unchanged."""
    if path is None:
        return None
    if path.is_file():
        return f"{path.name} {sha256_of(path)[:12]}"
    if path.is_dir():
        names = [(str(one.relative_to(path)), one.stat().st_size) for one in sorted(path.rglob("*")) if one.is_file()]
        return f"{path.name}{os.sep} {short_digest(names)}"
    return str(path)


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 48 else str(value)
