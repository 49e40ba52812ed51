"""Marks that people set on matches, as the page of the service exports them, to a manifest that a model is trained on.

A right mark says that query and match are of one identity, and so do equal identities of entries: what is joined so, however
long the chain, is one identity. It is named by its entries' own identity, or is given a name. Wrong marks add no image: that
two images are of different identities says not whose they are. They are held against what was joined, and what contradicts
itself is refused, with the lines that say so.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from crossreid.data.readers.manifest import COLUMNS, read_rows
from crossreid.data.records import DataError, Record
from crossreid.files import replacing
from crossreid.galleries.entries import modality_of, utc_seconds
from crossreid.galleries.fragments import file_of, path_and_box

FIELDS = (
    "query", "query_sha256", "query_modality", "query_path", "query_identity", "query_camera", "query_time",
    "mark", "score", "rank", "id", "path", "identity", "camera", "modality", "time", "model",
)  # fmt: skip
_ENTRY = "id:"  # what a query's name starts with where an entry asked
# The page sets an apostrophe before what a spreadsheet would take for a formula, and before apostrophes followed by that.
_GUARDED = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, slots=True)
class Mark:
    """One line, counted from 1: `entry` is the match, its path the entry's source. A query is a file, by its name and the
    SHA-256 of its content, or an entry, `id:ID`, and then `asking` is what is known of it."""

    line: int
    query: str
    sha256: str
    asking: Record
    right: bool
    id: str
    entry: Record


@dataclass(frozen=True, slots=True)
class Joined:
    """Counts of a manifest that was written; `named` identities had no name of their own, `missing` images are left out."""

    images: int
    identities: int
    named: int
    right: int
    wrong: int
    missing: tuple[str, ...] = ()


def read_marks(path: Path) -> list[Mark]:
    """The marks of a file that the page exported. Raises `DataError` naming the line and what is wrong there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Expected marks that the page exported.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}, line 1: column {missing[0]!r} is missing. Expected {','.join(FIELDS)}.")
        return [_mark(row, reader.line_num, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error


def write_manifest(
    marks: Sequence[Mark], out: Path, *, images: Sequence[Path], queries: Path | None = None, skip_missing: bool = False
) -> Joined:
    """Write the manifest of what right marks join; its paths are relative to its folder.

    Args:
        images: folders below which the entries' images lie, by their sources.
        queries: folder below which the files that were searched with lie, anywhere, by name and content, or by content
            under another name.
        skip_missing: leave out images that are not found, and say which; what they join is joined all the same.

    Raises:
        DataError: an image that is not found; marks that contradict one another, or the
            identities of entries; no right mark; a file that is there already. Nothing is written then.
    """
    if out.exists():
        raise DataError(f"{out} is there already. Remove it, or choose another --out.")
    if not any(mark.right for mark in marks):
        raise DataError("no match is marked as right, so that nothing could be trained on.")
    places = _Places(images, queries)
    records: dict[Path, Record] = {}
    links: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
    for mark in marks:
        if mark.right:
            query, match = places.of(mark)
            for path, record in ((query, mark.asking), (match, mark.entry)):
                records[path] = _agreed(records.get(path), replace(record, path=path), mark.line)
            links[query].append((match, f"line {mark.line}"))
            links[match].append((query, f"line {mark.line}"))
    if not skip_missing:
        places.refuse_missing()
    first: dict[str, Path] = {}
    for path, record in records.items():
        if record.identity and (same := first.setdefault(record.identity, path)) != path:
            why = f"identity {record.identity!r} of both"
            links[same].append((path, why))
            links[path].append((same, why))
    groups = _components(list(records), links)
    _refuse_two_identities(groups, records, links)
    _refuse_wrong(marks, places, groups, records, links)
    groups = [there for group in groups if (there := [path for path in group if path not in places.missing])]
    if not groups:
        places.refuse_missing()
    named = _name(groups, records)
    found = [records[path] for group in groups for path in group]
    _write(out, found)
    count = sum(mark.right for mark in marks)
    return Joined(len(found), len(groups), named, count, len(marks) - count, tuple(places.missing.values()))


class _Places:
    """Where the images of marks are; `missing` is what right marks name and is not found, by what stands for its path."""

    def __init__(self, roots: Sequence[Path], queries: Path | None) -> None:
        for folder in (*roots, *([] if queries is None else [queries])):
            if not folder.is_dir():
                raise DataError(f"{folder}: expected a folder of images.")
        self._roots = [root.resolve() for root in roots]
        self._files: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(queries.rglob("*")) if queries is not None else ():
            if path.is_file():
                self._files[path.name].append(path.resolve())
        self._prints: dict[Path, str] = {}
        self.missing: dict[Path, str] = {}

    def of(self, mark: Mark) -> tuple[Path, Path]:
        """The files of query and match. One that is missing is something that no file is."""
        if mark.sha256:
            query = self._query_file(mark)
        else:
            query = self._entry_file(mark.query.removeprefix(_ENTRY), mark.asking.path, mark.right)
        return query, self._entry_file(mark.id, mark.entry.path, mark.right)

    def refuse_missing(self) -> None:
        if self.missing:
            names = list(self.missing.values())
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DataError(
                f"not found: {', '.join(names[:5])}{more}. Expected queries below --queries and entries below --images; "
                "--skip-missing leaves them out."
            )

    def _query_file(self, mark: Mark) -> Path:
        named = self._files.get(mark.query, [])
        others = (path for name, paths in self._files.items() if name != mark.query for path in paths)
        for path in itertools.chain(named, others):
            if self._print(path) == mark.sha256:
                return path
        changed = f" ({named[0]} is another image)" if named else ""
        return self._lacking(f"the query {mark.query!r}{changed}", mark.sha256, mark.right)

    def _print(self, path: Path) -> str:
        if path not in self._prints:
            with path.open("rb") as stream:
                self._prints[path] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._prints[path]

    def _entry_file(self, id: str, source: Path, needed: bool) -> Path:
        what = f"the entry {id!r}" + ("" if str(source) in (id, ".") else f" ({source})")
        if path_and_box(str(source))[1] is not None:
            what += " as an image of its own, as a manifest names no parts of pictures"
        elif source != Path() and (found := file_of(str(source), self._roots)):
            return found[0]
        return self._lacking(what, f"id {id}", needed)

    def _lacking(self, what: str, which: str, needed: bool) -> Path:
        stand_in = Path("\0", which)
        if needed:
            self.missing[stand_in] = what
        return stand_in


def _mark(row: dict[str, str], line: int, where: str) -> Mark:
    if None in row or None in row.values():
        raise DataError(f"{where}: expected {len(FIELDS)} cells.")
    cells = {name: _unguarded(row[name]) for name in FIELDS}
    if cells["mark"] not in ("right", "wrong"):
        raise DataError(f"{where}: mark is {cells['mark']!r}, expected right or wrong.")
    if not cells["query"] or not cells["id"]:
        raise DataError(f"{where}: query and id must not be empty.")
    if not re.fullmatch(
        "[0-9a-f]{64}" if cells["query_sha256"] else f"{_ENTRY}.+", cells["query_sha256"] or cells["query"], re.S
    ):
        raise DataError(
            f"{where}: expected the SHA-256 of the file that asked as query_sha256, or none and as query {_ENTRY}ID."
        )
    entry = _record(cells, "", where)
    return Mark(
        line, cells["query"], cells["query_sha256"], _record(cells, "query_", where), cells["mark"] == "right",
        cells["id"], entry,
    )  # fmt: skip


def _record(cells: dict[str, str], of: str, where: str) -> Record:
    """What a line says of the match, or of the query."""
    camera, time = cells[f"{of}camera"] or "0", cells[f"{of}time"]
    if not (camera.isascii() and camera.isdecimal()):
        raise DataError(f"{where}: {of}camera is {camera!r}, expected a whole number, 0 where it is unknown.")
    try:
        seen = modality_of(cells[f"{of}modality"])
        taken = datetime.fromtimestamp(utc_seconds(time), UTC).timestamp() if time else None
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"{where}: {error}") from error
    return Record(Path(cells[f"{of}path"]), cells[f"{of}identity"].strip(), int(camera), seen, time=taken)


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def _agreed(known: Record | None, told: Record, line: int) -> Record:
    """What two marks say of one image: what is unknown to one, the other may know."""
    if known is None:
        return told
    for name, unknown in (("identity", ""), ("camera", 0), ("modality", None), ("time", None)):
        ours, theirs = getattr(known, name), getattr(told, name)
        if unknown not in (ours, theirs) and ours != theirs:
            raise DataError(
                f"line {line}: {name} of {told.path} is {theirs!r}, and in a line before it {ours!r}. Mend one."
            )
    return replace(
        known, identity=known.identity or told.identity, camera=known.camera or told.camera,
        time=told.time if known.time is None else known.time,
    )  # fmt: skip


def _components(nodes: Sequence[Path], links: dict[Path, list[tuple[Path, str]]]) -> list[list[Path]]:
    """Groups that links join, in the order of the nodes."""
    group_of: dict[Path, list[Path]] = {}
    for start in nodes:
        if start in group_of:
            continue
        group = group_of[start] = [start]
        for node in group:  # grows meanwhile
            for other, _ in links[node]:
                if other not in group_of:
                    group_of[other] = group
                    group.append(other)
    return list({id(group): group for group in group_of.values()}.values())


def _chain(start: Path, end: Path, links: dict[Path, list[tuple[Path, str]]]) -> str:
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


def _refuse_two_identities(
    groups: Sequence[Sequence[Path]], records: dict[Path, Record], links: dict[Path, list[tuple[Path, str]]]
) -> None:
    for group in groups:
        known = [path for path in group if records[path].identity]
        for path in known[1:]:
            if records[path].identity != records[known[0]].identity:
                raise DataError(
                    f"right marks join the identities {records[known[0]].identity!r} and {records[path].identity!r}: "
                    f"{_chain(known[0], path, links)}. Take back the mark that is wrong, or mend the gallery."
                )


def _refuse_wrong(
    marks: Sequence[Mark], places: _Places, groups: Sequence[Sequence[Path]], records: dict[Path, Record],
    links: dict[Path, list[tuple[Path, str]]],
) -> None:  # fmt: skip
    """Wrong marks within a group; also of an entry that no right mark names, but whose identity a group has."""
    member = {path: number for number, group in enumerate(groups) for path in group}
    bearer = {records[path].identity: path for path in reversed(records) if records[path].identity}
    for mark in marks:
        if mark.right:
            continue
        ends = [
            path if path in member else bearer.get(record.identity, path)
            for path, record in zip(places.of(mark), (mark.asking, mark.entry), strict=True)
        ]
        if ends[0] in member and member[ends[0]] == member.get(ends[1]):
            raise DataError(
                f"line {mark.line}: {mark.query!r} and {mark.id!r} are marked wrong, but right marks join them: "
                f"{_chain(ends[0], ends[1], links)}. Take back the mark that is not so."
            )


def _name(groups: Sequence[Sequence[Path]], records: dict[Path, Record]) -> int:
    """Give every image of a group the group's identity; how many groups had none."""
    taken = {record.identity for record in records.values()}
    fresh = (name for number in itertools.count(1) if (name := f"marked-{number:04d}") not in taken)
    made = 0
    for group in groups:
        known = [records[path].identity for path in group if records[path].identity]
        made += not known
        identity = known[0] if known else next(fresh)
        for path in group:
            records[path] = replace(records[path], identity=identity)
    return made


def _write(out: Path, records: Sequence[Record]) -> None:
    """Written under another name, read again as training would, and renamed where it says the same."""
    folder = out.parent.resolve()
    with replacing(folder / out.name) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for record in records:
                writer.writerow((
                    Path(os.path.relpath(record.path, folder)).as_posix(), record.identity, record.camera or "",
                    record.modality.name.lower(), "", "",
                    "" if record.time is None else datetime.fromtimestamp(record.time, UTC).isoformat(),
                ))  # fmt: skip
        for (read, _), record in zip(read_rows(temporary), records, strict=True):
            if replace(read, path=read.path.resolve()) != record:
                raise DataError(
                    f"{record.path}: a manifest cannot name it so (line breaks, or spaces at an end). Rename it."
                )
