"""Verify a copy of a data set: compare its content with what it should contain."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import ExifTags, Image
from rich.table import Table

from crossreid.data.catalogue import describe, existing, load
from crossreid.data.deadline import Overrun, deadline
from crossreid.data.image_names import NOT_READ, LeftOut, is_image, reason_left_out
from crossreid.data.images import MAX_PIXELS, TURNED, WIDE, check_box, load_image
from crossreid.data.leaks import MOST as COMPARED
from crossreid.data.leaks import key_of, leaks
from crossreid.data.levels import NARROW, Levels, narrow_note, split_with_levels
from crossreid.data.looks import Look, look_of, looks_at
from crossreid.data.records import DataError, Modality, Record, Split
from crossreid.data.tracklets import tracklet_name

SMALLEST, LARGEST = 16, 10_000
LOOKED_AT = 2_000  # manifests up to this size are always searched for near-duplicates: a few seconds
_HEADER_SECONDS = 2  # of computing: an ordinary image opens in a thousandth of that
_SHOWN = 20


@dataclass(frozen=True)
class CheckReport:
    """The result: rows of (what, expected or '', found), problems that make the copy unusable, and notes.

    `split` is the copy as read, None if it could not be read; `sizes` are the upright (width, height) of its pictures.
    """

    name: str
    rows: tuple[tuple[str, str, str], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    split: Split | None = None
    sizes: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

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
    levels: Levels = "full",
) -> CheckReport:
    """Verify the copy of `name` at `root`.

    Checks counts against the official ones; every listed file exists, is readable and of sane size (by its header);
    identities are disjoint between training, validation and test. An error that keeps the data set from being read is a
    problem too.

    Args:
        deep: decode every image, in `workers` processes, and compare contents: one file under two identities is a
            problem; near-duplicates on both sides of the split are noted.
        expect: `official` counts, or `any`; by default `any` for synthetic worlds (they have factors.csv) and without
            known official counts.
        progress: called with (done, total) as images are examined.
        options: options of the data set's reader, as in a recipe's `data.options`.
        levels: how 16-bit pictures are read, as in a recipe's `data.levels`; with `full`, narrow ranges are noted.

    Raises:
        DataError: an unknown name, or a missing root.
    """
    known, root = describe(name), existing(name, root)
    if expect not in (None, "official", "any"):
        raise DataError(f"--expect {expect!r}: expected official or any.")
    synthetic = (root / "factors.csv").is_file()
    against = expect or ("any" if synthetic or not known.official else "official")
    notes = ["a synthetic world: counts are not compared"] if synthetic and against == "any" else []
    try:
        splits = [
            split_with_levels(load(name, root, **{**(options or {}), **variant}), levels) for variant in known.variants
        ]
    except DataError as error:
        problems = [str(error)]
        if known.list_problems is not None:
            with suppress(DataError):  # missing or unreadable lists: the error below says so
                problems += limited(known.list_problems(root, against == "official"))
        return CheckReport(name, (), tuple(problems), tuple(notes))
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
    records = sorted(
        {record for s in splits for record in (*s.train, *s.validation, *s.test)}, key=lambda r: (r.path, r.box or ())
    )
    if progress is not None:
        progress(0, len(records))
    seen = looked_at(records, deep=deep, workers=workers, progress=progress)
    faults = [one.fault for one in seen if one.fault is not None]
    problems += limited(faults)
    notes += [note for note in splits[0].notes if note not in problems]
    if deep:
        problems += limited(
            twins([(one.digest, record) for one, record in zip(seen, records, strict=True) if one.digest])
        )
        looks = {key_of(record): one.look for one, record in zip(seen, records, strict=True) if one.look is not None}
        notes += leaks(splits[0], looks)
        if len(records) > COMPARED:
            notes.append(f"near-duplicates are searched among up to {COMPARED:,} images; there are {len(records):,}.")
    elif name == "manifest" and len(records) <= LOOKED_AT:
        looked = zip(records, looks_at(records, workers=workers), strict=True)
        notes += leaks(splits[0], {key_of(record): look for record, look in looked if isinstance(look, Look)})
    elif name == "manifest":
        notes.append("near-duplicates across the split are searched with --deep")
    rows.append(
        ("images decoded" if deep else "image headers read", f"{len(records):,}", f"{len(records) - len(faults):,}")
    )
    notes += unlisted(root, records)
    if levels == "full":
        notes += narrow_ranges(seen, records)
    sizes = {record.file: one.size for one, record in zip(seen, records, strict=True)}
    return CheckReport(name, tuple(rows), tuple(problems), tuple(notes), splits[0], sizes)


def counted(split: Split) -> dict[str, int]:
    """Count identities and images of each part, values of each attribute, and the tracklets of a video data set.

    Images are counted by modality if there are both; otherwise, test images are counted by role, unless each one is
    query and gallery.
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
    """Return a line for each pair of parts that share identities."""
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


@dataclass(frozen=True, slots=True)
class _Seen:
    """One image: its error, its upright size (width, height), and if decoded, its digest and look.

    `values` are the lowest and highest value of a 16-bit picture.
    """

    fault: str | None = None
    size: tuple[int, int] = (0, 0)
    digest: str = ""
    look: Look | None = None
    values: tuple[int, int] | None = None


def looked_at(
    records: Sequence[Record], *, deep: bool, workers: int | None, progress: Callable[..., object] | None
) -> list[_Seen]:
    """Examine each image."""
    look = _decoded if deep else _header
    seen: list[_Seen] = []

    def take(results: Iterable[_Seen]) -> None:
        for one in results:
            # A look is a kilobyte: none is kept if there are more images than are compared.
            seen.append(one if len(records) <= COMPARED else replace(one, look=None))
            if progress is not None:
                progress(1)

    # Absolute: a reused worker may have started in another folder.
    placed = [replace(record, path=record.file.absolute()) for record in records]
    if deep and workers != 1 and len(records) > 200:
        take(Parallel(workers or -1, return_as="generator", batch_size=64)(delayed(look)(record) for record in placed))
    else:
        take(map(look, placed))
    return seen


def narrow_ranges(seen: Sequence[_Seen], records: Sequence[Record]) -> list[str]:
    """Return a note if most 16-bit pictures use few of their values, with the range of each camera."""
    wide = [(one.values, record) for one, record in zip(seen, records, strict=True) if one.values is not None]
    narrow = [(values, record) for values, record in wide if 0 < values[1] - values[0] < NARROW]
    if 2 * len(narrow) <= len(wide):
        return []
    ranges: dict[int, tuple[int, int]] = {}
    for (low, high), record in narrow:
        least, most = ranges.get(record.camera, (low, high))
        ranges[record.camera] = min(low, least), max(high, most)
    return [narrow_note(ranges, narrow[0][1].file)]


def twins(digests: Sequence[tuple[str, Record]]) -> list[str]:
    """Return a line for each file content that occurs under two identities."""
    first: dict[str, Record] = {}
    lines = []
    for digest, record in digests:
        other = first.setdefault(digest, record)
        if other.identity != record.identity:
            lines.append(f"{record.path} is the same file as {other.path}, under another identity.")
    return lines


def unlisted(root: Path, records: Sequence[Record]) -> list[str]:
    """Return notes on unused files if the root is a folder: images in no split, and pictures of unsupported formats."""
    known = {record.path for record in records}
    extra: list[Path] = []
    passed_over = LeftOut()
    for path in root.rglob("*"):
        if is_image(path.name) and path not in known:
            extra.append(path)
        elif path.suffix.lower() in NOT_READ:
            passed_over.add(str(path), reason_left_out(path.name))
    lines = [f"{len(extra):,} image files belong to no split, for example {extra[0]}"] if extra else []
    return lines + passed_over.lines()


def limited(lines: list[str]) -> list[str]:
    """Return the first lines, and how many more there are."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN:,} more of this kind"]


def _header(record: Record) -> _Seen:
    path = record.file
    try:
        if path.stat().st_size == 0:
            return _Seen(f"{path} is empty (0 bytes).")
        with deadline(_HEADER_SECONDS), Image.open(path) as image:
            width, height = image.size
            values = None
            if image.mode in WIDE and width * height <= MAX_PIXELS:
                pixels = np.asarray(image)
                values = int(pixels.min()), int(pixels.max())
            if image.getexif().get(ExifTags.Base.Orientation, 1) in TURNED:
                width, height = height, width
    except Overrun:
        return _Seen(
            f"{path} takes more than {_HEADER_SECONDS} seconds to open; save it again as an ordinary JPEG or PNG."
        )
    except FileNotFoundError:
        return _Seen(f"{path} not found.")
    except Exception as error:  # Pillow raises many exception classes for damaged headers
        return _Seen(f"{path} is not a readable image ({type(error).__name__}).")
    size = width, height
    if not (min(size) >= SMALLEST and max(size) <= LARGEST):
        return _Seen(f"{path} has {width} x {height} pixels, expected sides of {SMALLEST} to {LARGEST:,}.", size)
    if record.box is not None:
        try:
            check_box(path, record.box, width, height)
        except DataError as error:
            return _Seen(str(error), size)
    return _Seen(size=size, values=values)


def _decoded(record: Record) -> _Seen:
    seen = _header(record)
    if seen.fault is not None:
        return seen
    try:
        pixels = load_image(replace(record, pseudo_infrared=False))
    except DataError as error:
        return replace(seen, fault=str(error))
    # Each of several boxes in one picture is a separate image.
    content = record.file.read_bytes() if record.box is None else pixels.tobytes()
    return replace(seen, digest=hashlib.blake2b(content, digest_size=16).hexdigest(), look=look_of(pixels))
