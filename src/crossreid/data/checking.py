"""Verifying a copy of a data set: what is there, held against what should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from joblib import Parallel, delayed
from PIL import ExifTags, Image
from rich.table import Table

from crossreid.data.catalogue import describe, existing, load
from crossreid.data.deadline import Overrun, deadline
from crossreid.data.images import check_box, load_image
from crossreid.data.records import DataError, Modality, Record, Split
from crossreid.data.tracklets import tracklet_name

SMALLEST, LARGEST = 16, 10_000
_HEADER_SECONDS = 2  # of computing: an ordinary image is opened in a thousandth of that
_SHOWN = 20


@dataclass(frozen=True)
class CheckReport:
    """What was found: rows of (what, expected or '', found), problems that make the copy unfit, and notes."""

    name: str
    rows: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.problems

    def table(self) -> Table:
        view = Table(title=self.name)
        for column, justify in (("what", "left"), ("expected", "right"), ("found", "right")):
            view.add_column(column, justify=justify)  # type: ignore[arg-type]
        for row in self.rows:
            view.add_row(*row, style="bold red" if row[1] and row[1] != row[2] else None)
        return view


def check(
    name: str,
    root: Path,
    *,
    deep: bool = False,
    expect: str | None = None,
    workers: int | None = None,
    progress: Callable[..., object] | None = None,
    options: Mapping[str, object] | None = None,
) -> CheckReport:
    """Verify the copy of `name` at `root`.

    Counts against the official ones, every listed file present, readable and of sane size (by its header), identities
    disjoint between training, validation and test. What keeps the data set from being read at all is a problem too.

    Args:
        deep: decode every image, in `workers` processes, and compare contents: one file under two identities is a problem.
        expect: `official` counts, or `any`; by default `any` for synthetic worlds (they have factors.csv) and where no official
            counts are known.
        progress: called with (done, total) as images are looked at.
        options: of the data set's reader, as in a recipe's `data.options`.

    Raises:
        DataError: an unknown name, or no such root.
    """
    known, root = describe(name), existing(name, root)
    if expect not in (None, "official", "any"):
        raise DataError(f"--expect {expect!r}: expected official or any.")
    synthetic = (root / "factors.csv").is_file()
    against = expect or ("any" if synthetic or not known.official else "official")
    notes = ["a synthetic world: counts are its own"] if synthetic and against == "any" else []
    try:
        splits = [load(name, root, **{**(options or {}), **variant}) for variant in known.variants]
    except DataError as error:
        return CheckReport(name, (), (str(error),), tuple(notes))
    counts = counted(splits[0])
    wanted = known.official if against == "official" else {}
    rows = [(what, f"{wanted[what]:,}" if what in wanted else "", f"{found:,}") for what, found in counts.items()]
    problems = [
        f"{what}: expected {wanted[what]:,}, found {found:,}. The copy is incomplete or not the official one."
        for what, found in counts.items()
        if what in wanted and wanted[what] != found
    ]
    for split in splits:
        problems += overlaps(split)
    if known.list_problems is not None:
        problems += limited(known.list_problems(root, against == "official"))
    records = sorted({record for s in splits for record in (*s.train, *s.validation, *s.test)}, key=lambda r: r.path)
    if progress is not None:
        progress(0, len(records))
    faults, digests = looked_at(records, deep=deep, workers=workers, progress=progress)
    problems += limited(faults)
    if deep:
        problems += limited(twins(digests))
    rows.append(
        ("images decoded" if deep else "image headers read", f"{len(records):,}", f"{len(records) - len(faults):,}")
    )
    notes += unlisted(root, records)
    return CheckReport(name, tuple(rows), tuple(problems), tuple(notes))


def counted(split: Split) -> dict[str, int]:
    """Identities and images of each part, how many values each attribute has, and the tracklets of a filmed set.

    Images are counted by modality where there are both; where there is one, those of the test by role, unless each asks
    and answers.
    """
    counts: dict[str, int] = {}
    both = len({record.modality for record in (*split.train, *split.validation, *split.test)}) > 1
    for part, records in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        if part == "validation" and not records:
            continue
        counts[f"{part} identities"] = len({record.identity for record in records})
        if both:
            for modality in Modality:
                images = sum(record.modality == modality for record in records)
                counts[f"{part} {modality.name.lower()} images"] = images
        elif part == "test" and set(split.query) != set(split.gallery):
            counts |= {"query images": len(split.query), "gallery images": len(split.gallery)}
        else:
            counts[f"{part} images"] = len(records)
        values: dict[str, set[str]] = {}
        for name, value in (pair for record in records for pair in record.attributes):
            values.setdefault(name, set()).add(value)
        counts |= {f"{part} {name}s": len(found) for name, found in values.items()}
    if any(record.tracklet is not None for record in split.train):
        for part, records in (("train", split.train), ("query", split.query), ("gallery", split.gallery)):
            counts[f"{part} tracklets"] = len({tracklet_name(record) for record in records})
    return counts


def overlaps(split: Split) -> list[str]:
    """A line for each pair of parts that share identities."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    names = {part: {record.identity for record in records} for part, records in parts.items()}
    trial = f" (trial {split.trial})" if split.trial else ""
    lines = []
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        both = sorted(names[one] & names[other])
        if both:
            lines.append(
                f"{len(both)} identities are in {one} and in {other}{trial}: {', '.join(both[:5])}. They must be disjoint."
            )
    return lines


def looked_at(
    records: Sequence[Record], *, deep: bool, workers: int | None, progress: Callable[..., object] | None
) -> tuple[list[str], list[tuple[str, Record]]]:
    """What is wrong with each file, and the digest of each that was decoded."""
    look = _decoded if deep else _header
    faults: list[str] = []
    digests: list[tuple[str, Record]] = []

    def take(results: Iterable[tuple[str | None, str]]) -> None:
        for record, (fault, digest) in zip(records, results, strict=True):
            if fault is not None:
                faults.append(fault)
            elif deep:
                digests.append((digest, record))
            if progress is not None:
                progress(1)

    # Absolute: a worker that is used again may have started in another folder.
    placed = [replace(record, path=record.path.absolute()) for record in records]
    if deep and workers != 1 and len(records) > 200:
        take(Parallel(workers or -1, return_as="generator", batch_size=64)(delayed(look)(record) for record in placed))
    else:
        take(map(look, placed))
    return faults, digests


def twins(digests: Sequence[tuple[str, Record]]) -> list[str]:
    """A line for each content that is there under two identities."""
    first: dict[str, Record] = {}
    lines = []
    for digest, record in digests:
        other = first.setdefault(digest, record)
        if other.identity != record.identity:
            lines.append(f"{record.path} is the same file as {other.path}, under another identity.")
    return lines


def unlisted(root: Path, records: Sequence[Record]) -> list[str]:
    """A note on image files that nothing refers to, where the root is a folder."""
    known = {record.path for record in records}
    kinds = {".jpg", ".jpeg", ".png", ".bmp"}
    extra = [path for path in root.rglob("*") if path.suffix.lower() in kinds and path not in known]
    return [f"{len(extra):,} image files belong to no split, for example {extra[0]}"] if extra else []


def limited(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN:,} more of this kind"]


def _header(record: Record) -> tuple[str | None, str]:
    path = record.path
    try:
        if path.stat().st_size == 0:
            return f"{path} is empty (0 bytes).", ""
        with deadline(_HEADER_SECONDS), Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8) if record.box else False
    except Overrun:
        return (
            f"{path} takes more than {_HEADER_SECONDS} seconds to open; write it again as an ordinary JPEG or PNG.",
            "",
        )
    except FileNotFoundError:
        return f"{path} not found.", ""
    except Exception as error:  # Pillow raises many classes for damaged headers
        return f"{path} is no readable image ({type(error).__name__}).", ""
    if not (min(width, height) >= SMALLEST and max(width, height) <= LARGEST):
        return f"{path} has {width} x {height} pixels, expected sides of {SMALLEST} to {LARGEST:,}.", ""
    if record.box is not None:
        try:
            check_box(path, record.box, *((height, width) if turned else (width, height)))
        except DataError as error:
            return str(error), ""
    return None, ""


def _decoded(record: Record) -> tuple[str | None, str]:
    fault, _ = _header(record)
    if fault is not None:
        return fault, ""
    try:
        pixels = load_image(replace(record, pseudo_infrared=False))
    except DataError as error:
        return str(error), ""
    # Of several boxes in one picture each is an image of its own.
    content = record.path.read_bytes() if record.box is None else pixels.tobytes()
    return None, hashlib.blake2b(content, digest_size=16).hexdigest()
