"""ATRW (Li et al., ACM Multimedia 2020): Amur tigers in the wild; layout in docs/datasets.md.

Assumed, because the lists do not say it: test images are named by their `imgid` in six digits, as in
`reid_list_test.csv`; wild pictures, which the owners distribute as the test images of detection, by their number with
any number of digits.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.image_names import JPEG, images_in
from crossreid.data.readers.holdout import hold_out
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Record, Split, in_order

GROUND_TRUTHS = ("plain", "wild")
_HINT = "Expected the layout in docs/datasets.md#atrw; run `crossreid check atrw ROOT`."


@register_dataset(
    "atrw",
    title="ATRW",
    protocol="atrw-plain",
    official={
        "train identities": 107,
        "test identities": 75,
        "train images": 1_887,
        "test images": 1_764,
    },
    licence="from the challenge on computer vision for wildlife conservation (CVWC 2019), under its terms",
    citation=Citation(
        "Li et al.",
        "ATRW: A Benchmark for Amur Tiger Re-identification in the Wild",
        "ACM Multimedia",
        2020,
    ),
    page="docs/datasets.md#atrw",
    layout=("reid_list_train.csv",),
)
def parse(root: Path, *, validation: int = 0, ground_truth: str = "plain") -> Split:
    """Read the official split: 107 training and 75 test entities (flanks of tigers); every test image is query and
    gallery.

    A camera is a pair of the ground truth's first two frame numbers, numbered from 1 in sorted order; training images
    have none. Entities seen by one camera are the official single-camera queries, all others the multi-camera ones.

    Args:
        validation: training identities to hold out, always the same ones for a given number.
        ground_truth: `plain` for crops in `test/`, `wild` for boxes in the pictures of `wild/`.

    Raises:
        DataError: a missing or damaged list, a malformed line, or an unknown ground truth.
    """
    root = Path(root)
    if ground_truth not in GROUND_TRUTHS:
        raise DataError(f"ATRW: ground_truth is {ground_truth!r}, expected one of {', '.join(GROUND_TRUTHS)}.")
    train, held_out = hold_out(training_images(root), validation, seed=0)
    test = tuple(in_order(plain_images(root) if ground_truth == "plain" else wild_images(root)))
    return Split(
        name="atrw",
        root=root,
        protocol="atrw-plain",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=test,
        gallery=test,
    )


def training_images(root: Path) -> list[Record]:
    """Return the records of `reid_list_train.csv`: columns `file,Class`, or without a header `identity,file`."""
    path = root / "reid_list_train.csv"
    if not path.is_file():
        raise DataError(f"ATRW: `{path.name}` not found under {root}. {_HINT}")
    lines = csv.reader(io.StringIO(list_text(path, "ATRW")))
    rows = [(n, [cell.strip() for cell in row]) for n, row in enumerate(lines, start=1) if row]
    file, label, form = 1, 0, "`identity,file`"
    if rows and {"file", "Class"} <= set(rows[0][1]):
        file, label, form = rows[0][1].index("file"), rows[0][1].index("Class"), "`file,Class`"
        del rows[0]
    records = []
    for number, row in rows:
        if len(row) != 2 or not row[label].isdecimal() or not row[file].lower().endswith((".jpg", ".jpeg", ".png")):
            raise DataError(f"ATRW: {path}, line {number}: expected {form}, found {','.join(row)!r}.")
        records.append(Record(root / "train" / row[file], row[label]))
    if not records:
        raise DataError(f"ATRW: {path} lists no image. {_HINT}")
    return records


def plain_images(root: Path) -> list[Record]:
    """Return the records of `gt_test_plain.json`: crops in `test/`."""
    path, entries = _ground_truth(root, "plain", list)
    found = [
        (root / "test" / f"{_whole(path, entry, 'imgid'):06d}.jpg", *_who(path, entry, "entityid", "frame"), None)
        for entry in entries
    ]
    return _records(path, found)


def wild_images(root: Path) -> list[Record]:
    """Return the records of `gt_test_wild.json`: boxes in the pictures of `wild/`, several in some."""
    path, pictures = _ground_truth(root, "wild", dict)
    folder = root / "wild"
    named = {int(image.stem): image for image in images_in(folder, JPEG) if image.stem.isdecimal()}
    found = []
    for picture, entries in pictures.items():
        if not picture.isdecimal() or not isinstance(entries, list):
            raise DataError(f"ATRW: {path}: expected numbers of pictures, each with a list, found {picture!r}.")
        image = named.get(int(picture), folder / f"{picture}.jpg")
        found += [(image, *_who(path, entry, "eid", "fid"), _box(path, entry)) for entry in entries]
    return _records(path, found)


_Found = tuple[Path, str, tuple[int, int, int], tuple[int, int, int, int] | None]


def _records(path: Path, found: Iterable[_Found]) -> list[Record]:
    found = list(found)
    if not found:
        raise DataError(f"ATRW: {path} names no image. {_HINT}")
    pairs = sorted({frame[:2] for _, _, frame, _ in found})
    cameras = {pair: number for number, pair in enumerate(pairs, start=1)}
    return [
        Record(image, identity, cameras[frame[:2]], frame=frame[2], box=box) for image, identity, frame, box in found
    ]


def _ground_truth(root: Path, kind: str, form: type) -> tuple[Path, Any]:
    path = root / f"gt_test_{kind}.json"
    if not path.is_file():
        raise DataError(f"ATRW: `{path.name}` not found under {root}. {_HINT}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"ATRW: {path} is not valid JSON: {error}. Copy it again.") from error
    if not isinstance(content, form):
        raise DataError(f"ATRW: {path}: expected a JSON {'list' if form is list else 'object'} of images.")
    return path, content


def _who(path: Path, entry: Any, identity: str, frame: str) -> tuple[str, tuple[int, int, int]]:
    place, camera, number = _wholes(path, entry, frame, 3)
    return str(_whole(path, entry, identity)), (place, camera, number)


def _box(path: Path, entry: Any) -> tuple[int, int, int, int]:
    left, top, right, bottom = _wholes(path, entry, "bbox", 4)
    return left, top, right, bottom


def _whole(path: Path, entry: Any, key: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int) or value < 0:
        raise DataError(f"ATRW: {path}: expected entries with a number `{key}`, found {str(entry)[:120]}.")
    return value


def _wholes(path: Path, entry: Any, key: str, count: int) -> list[int]:
    values = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(values, list) or len(values) != count or not all(isinstance(v, int) for v in values):
        raise DataError(f"ATRW: {path}: expected entries with {count} numbers `{key}`, found {str(entry)[:120]}.")
    return values
