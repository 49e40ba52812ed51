"""Whether a data set suits: what of it is left out of training and of the test, and whether a recipe can train on it at all."""

from __future__ import annotations

from collections import Counter

from crossreid.data.records import Modality, Split
from crossreid.errors import CrossreidError
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.unmatched import unmatched_queries
from crossreid.runs.plan import plan
from crossreid.runs.recipe import Recipe


def left_out(split: Split) -> list[str]:
    """A line for each kind of image that training or the test has no use for."""
    lines = []
    counts = Counter(record.identity for record in split.train)
    kinds: dict[str, set[Modality]] = {}
    for record in split.train:
        kinds.setdefault(record.identity, set()).add(record.modality)
    single = sum(count == 1 for count in counts.values())
    if single:
        lines.append(
            f"training: {single:,} of {len(counts):,} identities have one image, which gives no pair to learn from"
        )
    if len({kind for found in kinds.values() for kind in found}) > 1:
        lacking = sum(len(found) == 1 for found in kinds.values())
        if lacking:
            lines.append(
                f"training: {lacking:,} of {len(kinds):,} identities lack a modality; batches that are balanced by modality "
                "(data.sampler.balance) leave them out"
            )
    if split.protocol in PROTOCOLS and (unmatched := unmatched_queries(split)):
        text = f"test: {len(unmatched):,} of {len(split.query):,} queries have no match in the gallery and are skipped"
        lines.append(f"{text} (protocol {split.protocol}; first: {unmatched[0].path})")
    return lines


def trainable(split: Split, recipe: Recipe) -> tuple[bool, str]:
    """Whether `recipe` can train on `split`, and in words how: its plan in steps, or why not."""
    try:
        return True, str(plan(recipe, split))
    except CrossreidError as error:
        return False, str(error)
