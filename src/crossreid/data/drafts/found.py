"""What a source says about images, before anything is guessed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crossreid.data.image_names import LeftOut, is_image, reason_left_out
from crossreid.data.records import Modality, Record


@dataclass
class Found:
    """Rows (record, split), the columns that the source gave, what it left out, and notes on how it was read.

    A row's identity is its record's; cameras are 0 and modalities visible if `known` does not name them.
    """

    rows: list[tuple[Record, str]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)


def files_below(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return the images in and below a folder, sorted; other files are counted in `left_out`."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        inner = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inner):
            left_out.add(str(path), "hidden")
        elif is_image(path.name):
            found.append(path)
        else:
            left_out.add(str(path), reason_left_out(path.name))
    return found


_VISIBLE_WORDS = {"visible", "vis", "rgb", "color", "colour", "day"}
_INFRARED_WORDS = {"infrared", "ir", "nir", "lwir", "thermal", "night"}


def modality_word(text: str) -> Modality | None:
    """Return the modality that a folder name or a cell states, None if it states none."""
    word = text.strip().lower()
    if word in _VISIBLE_WORDS:
        return Modality.VISIBLE
    return Modality.INFRARED if word in _INFRARED_WORDS else None


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Return camera numbers for names: the names themselves if all are whole numbers from 1, else 1, 2, ... in sorted
    order.
    """
    distinct = sorted(set(names))
    if all(name.isascii() and name.isdecimal() and 0 < int(name) < 2**63 for name in distinct):
        return {name: int(name) for name in distinct}
    return {name: number for number, name in enumerate(distinct, start=1)}


def as_numbers(names: dict[str, int]) -> str:
    """Return `1 = north, 2 = south`, for printing; '' if the names are numbers."""
    renamed = [(number, name) for name, number in names.items() if name != str(number)]
    shown = ", ".join(f"{number} = {name}" for number, name in sorted(renamed)[:8])
    return shown + (", ..." if len(renamed) > 8 else "")
