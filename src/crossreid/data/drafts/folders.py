"""Identities from folders or names: one folder per identity, possibly below folders for splits or modalities."""

from __future__ import annotations

import re
from pathlib import Path

from crossreid.data.catalogue import load
from crossreid.data.drafts.found import Found, files_below, modality_word
from crossreid.data.readers.manifest_rows import DISTRACTOR, JUNK, SPLITS
from crossreid.data.readers.market_1501 import DISTRACTOR as MARKET_DISTRACTOR
from crossreid.data.readers.market_1501 import JUNK as MARKET_JUNK
from crossreid.data.records import DataError, Record, Split

_LEADING = re.compile(r"^([^_\s]+?)[_\s]")  # the part of a name before the first underscore or space
_SPLIT_WORDS = {**SPLITS, "valid": "validation", "training": "train"}


def from_folders(folder: Path) -> Found:
    """Take one folder per identity: the first folder in a path that names neither a split nor a modality."""
    found = Found()
    splits = _split_folders(folder)
    for path in files_below(folder, found.left_out):
        parts = list(path.relative_to(folder).parts[:-1])
        split = _SPLIT_WORDS[parts.pop(0).lower()] if splits and parts else ""
        words = [part for part in parts if modality_word(part) is None]
        if not words or (splits and not split):
            found.left_out.add(str(path), "not in the folder of an identity")
            continue
        found.rows.append((Record(path, words[0]), split))
    if splits:
        found.known.add("split")
        found.notes.append(f"split: from the folders {', '.join(splits)}")
    if not found.rows:
        raise DataError(
            f"{folder} has no folder with images. Expected one folder per identity; if image names contain the identity "
            "(cow7_001.jpg), use --from names."
        )
    return found


def from_names(folder: Path) -> Found:
    """Take the part of a name before its first underscore or space as the identity: cow7 from cow7_001.jpg."""
    found = Found()
    for path in files_below(folder, found.left_out):
        leading = _LEADING.match(path.name)
        if leading is None:
            found.left_out.add(str(path), "its name has no identity before an underscore or a space")
            continue
        found.rows.append((Record(path, leading[1]), ""))
    if not found.rows:
        raise DataError(
            f"{folder} has no image with a name such as cow7_001.jpg. With one folder per identity, use --from folders."
        )
    return found


def from_layout(name: str, folder: Path) -> Found:
    """Read the images of a public layout with its own reader, with junk and distractors marked."""
    split = load(name, folder)
    found = Found(known={"split", "camera", "modality"})
    for role, records in _roles(split).items():
        for record in records:
            said = {MARKET_JUNK: JUNK, MARKET_DISTRACTOR: DISTRACTOR}.get(record.identity, role)
            found.rows.append((record, said if role == "gallery" else role))
    return found


def _roles(split: Split) -> dict[str, tuple[Record, ...]]:
    asked = set(split.query)
    return {
        "train": split.train,
        "validation": split.validation,
        "query": split.query,
        "gallery": tuple(record for record in split.gallery if record not in asked),
    }


def _split_folders(folder: Path) -> list[str]:
    """Return the folders directly below, if all of them name a split."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return names if names and all(name.lower() in _SPLIT_WORDS for name in names) else []
