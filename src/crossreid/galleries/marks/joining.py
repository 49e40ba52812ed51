"""Groups of images of one identity, joined by chains of right marks, and contradictions between marks.

Equal identities of entries join too. Wrong marks add no image: that two images show different identities does not say
which ones. They are checked against the groups, and the error for a contradiction names the lines.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from crossreid.data.records import DataError, Record
from crossreid.galleries.marks.exported import Mark
from crossreid.galleries.marks.image_files import ImageFiles

Links = dict[Path, list[tuple[Path, str]]]  # from an image to others of its identity, and why


def agreed(known: Record | None, told: Record, line: int) -> Record:
    """Combine what two marks say about one image: one may know what is unknown to the other."""
    if known is None:
        return told
    for name, unknown in (("identity", ""), ("camera", 0), ("modality", None), ("time", None)):
        ours, theirs = getattr(known, name), getattr(told, name)
        if unknown not in (ours, theirs) and ours != theirs:
            raise DataError(
                f"line {line}: {name} of {told.path} is {theirs!r}, but in an earlier line {ours!r}. Correct one."
            )
    return replace(
        known, identity=known.identity or told.identity, camera=known.camera or told.camera,
        time=told.time if known.time is None else known.time,
    )  # fmt: skip


def components(nodes: Sequence[Path], links: Links) -> list[list[Path]]:
    """The groups joined by links, in the order of the nodes."""
    group_of: dict[Path, list[Path]] = {}
    for start in nodes:
        if start in group_of:
            continue
        group = group_of[start] = [start]
        for node in group:  # grows during the loop
            for other, _ in links[node]:
                if other not in group_of:
                    group_of[other] = group
                    group.append(other)
    return list({id(group): group for group in group_of.values()}.values())


def _chain(start: Path, end: Path, links: Links) -> str:
    """The shortest chain of links between two images of a group, in words."""
    came: dict[Path, tuple[Path, str]] = {start: (start, "")}
    waiting = deque([start])
    while end not in came:
        node = waiting.popleft()
        for other, why in links[node]:
            if other not in came:
                came[other] = (node, why)
                waiting.append(other)
    words: list[str] = []
    node = end
    while node != start:
        before, why = came[node]
        words.insert(0, f"{before.name} = {node.name} ({why})")
        node = before
    return ", ".join(words) or "they are one file"


def refuse_two_identities(groups: Sequence[Sequence[Path]], records: dict[Path, Record], links: Links) -> None:
    """Raise `DataError` if a group holds images of two identities, naming the chain that joins them."""
    for group in groups:
        known = [path for path in group if records[path].identity]
        for path in known[1:]:
            if records[path].identity != records[known[0]].identity:
                raise DataError(
                    f"right marks join the identities {records[known[0]].identity!r} and {records[path].identity!r}: "
                    f"{_chain(known[0], path, links)}. Remove the incorrect mark, or correct the gallery."
                )


def refuse_wrong(
    marks: Sequence[Mark], files: ImageFiles, groups: Sequence[Sequence[Path]], records: dict[Path, Record],
    links: Links,
) -> None:  # fmt: skip
    """Raise `DataError` for wrong marks within a group, including entries without right marks but with its identity."""
    member = {path: number for number, group in enumerate(groups) for path in group}
    bearer = {records[path].identity: path for path in reversed(records) if records[path].identity}
    for mark in marks:
        if mark.right:
            continue
        ends = [
            path if path in member else bearer.get(record.identity, path)
            for path, record in zip(files.of(mark), (mark.asking, mark.entry), strict=True)
        ]
        if ends[0] in member and member[ends[0]] == member.get(ends[1]):
            raise DataError(
                f"line {mark.line}: {mark.query!r} and {mark.id!r} are marked wrong, but right marks join them: "
                f"{_chain(ends[0], ends[1], links)}. Remove the incorrect mark."
            )


def name_groups(groups: Sequence[Sequence[Path]], records: dict[Path, Record], others: Collection[str] = ()) -> int:
    """Give every image of a group the group's identity, or a new name that is not in `others`.

    Returns:
        The number of groups with a new name.
    """
    taken = {record.identity for record in records.values()}.union(others)
    fresh = (name for number in itertools.count(1) if (name := f"marked-{number:04d}") not in taken)
    made = 0
    for group in groups:
        known = [records[path].identity for path in group if records[path].identity]
        made += not known
        identity = known[0] if known else next(fresh)
        for path in group:
            records[path] = replace(records[path], identity=identity)
    return made
