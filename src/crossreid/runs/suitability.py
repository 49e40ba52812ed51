"""Whether a data set is suitable: what training and the test leave out, and whether a recipe can train on it at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crossreid.data.levels import Levels
from crossreid.data.records import Modality, Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.unmatched import unmatched_queries

if TYPE_CHECKING:
    from crossreid.runs.recipe import Recipe


def left_out(split: Split) -> list[str]:
    """Return a line for each kind of image that training or the test does not use."""
    lines = []
    counts = Counter(record.identity for record in split.train)
    kinds: dict[str, set[Modality]] = {}
    for record in split.train:
        kinds.setdefault(record.identity, set()).add(record.modality)
    single = sum(count == 1 for count in counts.values())
    if single:
        lines.append(
            f"training: {single:,} of {len(counts):,} identities have only one image, so no pair to learn from"
        )
    if len({kind for found in kinds.values() for kind in found}) > 1:
        lacking = sum(len(found) == 1 for found in kinds.values())
        if lacking:
            lines.append(
                f"training: {lacking:,} of {len(kinds):,} identities lack a modality; batches balanced by modality "
                "(data.sampler.balance) leave them out"
            )
    if split.protocol in PROTOCOLS and (unmatched := unmatched_queries(split)):
        text = f"test: {len(unmatched):,} of {len(split.query):,} queries have no match in the gallery and are skipped"
        lines.append(f"{text} (protocol {split.protocol}; first: {unmatched[0].path})")
    return lines


class Copy(NamedTuple):
    """A copy of a data set and how to read it: name, folder, options of the reader, and levels of 16-bit images."""

    name: str
    root: Path
    options: Mapping[str, Any]
    levels: Levels


def copies_of(recipe: Recipe | None, name: str | None = None, root: Path | None = None) -> list[Copy]:
    """Return the copies to read: the one at `root`, with the recipe's options for that data set, or all of the recipe's if unnamed."""
    named: list[Copy] = []
    if recipe is not None:
        data = recipe.data
        each = [data.of_source(source.called) for source in data.sources] or [data]
        named = [Copy(one.name, one.root, one.options, one.levels) for one in each]
    if name is None or root is None:
        return named
    of_it = [copy for copy in named if copy.name == name]
    known = next((copy for copy in of_it if copy.root.resolve() == root.resolve()), of_it[0] if of_it else None)
    levels: Levels = "full" if recipe is None else recipe.data.levels if known is None else known.levels
    return [Copy(name, root, {} if known is None else known.options, levels)]


def trainable_in_all(recipe: Recipe) -> tuple[bool, str]:
    """As `trainable`, on all data sets that `recipe` itself names."""
    from crossreid.runs.run import open_split  # imported here: checking a recipe loads torch, checking a copy does not

    try:
        return trainable(open_split(recipe), recipe)
    except CrossreidError as error:
        return False, str(error)


def trainable(split: Split, recipe: Recipe) -> tuple[bool, str]:
    """Return whether `recipe` can train on `split`, and its plan in steps, or why not."""
    from crossreid.runs.plan import plan

    try:
        return True, str(plan(recipe, split))
    except CrossreidError as error:
        return False, str(error)
