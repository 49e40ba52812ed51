"""Identities from folders or from names: one folder an identity, perhaps below folders that say the split or the modality."""

from __future__ import annotations

import re
from pathlib import Path

from crossreid.data.catalogue import load
from crossreid.data.drafts.found import Found, files_below, modality_word
from crossreid.data.readers.manifest_rows import DISTRACTOR, JUNK, SPLITS
from crossreid.data.readers.market_1501 import DISTRACTOR as MARKET_DISTRACTOR
from crossreid.data.readers.market_1501 import JUNK as MARKET_JUNK
from crossreid.data.records import DataError, Record, Split

_LEADING = re.compile(r"^([^_\s]+?)[_\s]")  # of a name, what comes before the first underscore or space
_SPLIT_WORDS = {**SPLITS, "valid": "validation", "training": "train"}


def from_folders(folder: Path) -> Found:
    """One folder an identity: the first folder of a path that names neither a split nor a modality."""
    found = Found()
    splits = _split_folders(folder)
    for path in files_below(folder, found.left_out):
        parts = list(path.relative_to(folder).parts[:-1])
        split = _SPLIT_WORDS[parts.pop(0).lower()] if splits and parts else ""
        words = [part for part in parts if modality_word(part) is None]
        if not words or (splits and not split):
            found.left_out.add(str(path), "in no folder of an identity")
            continue
        found.rows.append((Record(path, words[0]), split))
    if splits:
        found.known.add("split")
        found.notes.append(f"split: from the folders {', '.join(splits)}")
    if not found.rows:
        raise DataError(
            f"{folder} holds no folder with images. Expected one folder an identity; if the names of the images say who is seen "
            "(cow7_001.jpg), use --from names."
        )
    return found


def from_names(folder: Path) -> Found:
    """An identity is what a name says before its first underscore or space: cow7 of cow7_001.jpg."""
    found = Found()
    for path in files_below(folder, found.left_out):
        leading = _LEADING.match(path.name)
        if leading is None:
            found.left_out.add(str(path), "its name says no identity before an underscore or a space")
            continue
        found.rows.append((Record(path, leading[1]), ""))
    if not found.rows:
        raise DataError(
            f"{folder} holds no image with a name such as cow7_001.jpg. With a folder an identity, use --from folders."
        )
    return found


def from_layout(name: str, folder: Path) -> Found:
    """The images of a public layout, by its own reader, with junk and distractors marked."""
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
    """The folders right below, where all of them name a split."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return names if names and all(name.lower() in _SPLIT_WORDS for name in names) else []
