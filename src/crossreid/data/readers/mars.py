"""MARS (Zheng et al., ECCV 2016): people filmed by six cameras on a campus; layout in docs/datasets.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.matfile import read_variable
from crossreid.data.readers.holdout import hold_out
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Record, Split, in_order

JUNK, DISTRACTOR = -1, 0
_HINT = "Expected the layout in docs/datasets.md#mars; run `crossreid check mars ROOT`."


@register_dataset(
    "mars",
    title="MARS",
    protocol="mars",
    official={
        "train identities": 625,
        "train images": 509_914,
        "train tracklets": 8_298,
        "gallery images": 681_089,
        "gallery tracklets": 12_180,
        "query tracklets": 1_980,
    },
    licence="on request from the authors, under their terms",
    citation=Citation("Zheng et al.", "MARS: A Video Benchmark for Large-Scale Person Re-Identification", "ECCV", 2016),
    page="docs/datasets.md#mars",
    layout=("bbox_train", "bbox_test", "info"),
)
def parse(root: Path, *, validation: int = 0) -> Split:
    """Read the official split: 8,298 training tracklets of 625 identities; 12,180 test tracklets, of which 1,980 are
    queries.

    The queries are also in the gallery. Identity -1 is junk, which the protocol leaves out; identity 0 are distractors.

    Args:
        validation: training identities to hold out, always the same ones for a given number.

    Raises:
        DataError: a list is missing, or a tracklet is empty, exceeds its list, or names another identity.
    """
    root = Path(root)
    train = [record for frames in tracks(root, "train") for record in frames]
    test = tracks(root, "test")
    asked = query_rows(root, len(test))
    kept, held_out = hold_out(train, validation, seed=0)
    return Split(
        name="mars",
        root=root,
        protocol="mars",
        train=tuple(in_order(kept)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(record for row in asked for record in test[row])),
        gallery=tuple(in_order(record for frames in test for record in frames)),
    )


def tracks(root: Path, part: str) -> list[list[Record]]:
    """Return the frames of each tracklet of `train` or `test`, in the order of `tracks_PART_info.mat`."""
    names = image_names(root, part)
    path = root / "info" / f"tracks_{part}_info.mat"
    rows = _matrix(path, f"track_{part}_info")
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise DataError(f"MARS: {path}: expected rows (first, last, identity, camera), found shape {rows.shape}.")
    folder = root / f"bbox_{part}"
    found = []
    for number, (first, last, identity, camera) in enumerate(rows.tolist(), start=1):
        where = f"MARS: {path}, tracklet {number}"
        if last < first:
            raise DataError(f"{where} is empty: it goes from image {first} to {last}. {_HINT}")
        if first < 1 or last > len(names):
            raise DataError(
                f"{where} goes from image {first} to {last}, but info/{part}_name.txt lists {len(names)}. {_HINT}"
            )
        if camera < 1:
            raise DataError(f"{where}: camera is {camera}, expected 1 or more. {_HINT}")
        frames = []
        of_identity = folder / names[first - 1][:4]  # joined once per tracklet: there are a million frames
        for position in range(first - 1, last):
            name = names[position]
            if _identity(name) != identity:
                raise DataError(f"{where} has identity {identity}, but image {position + 1} is {name}. {_HINT}")
            frames.append(
                Record(of_identity / name, str(identity), camera, tracklet=f"{part}-{number}", frame=position)
            )
        found.append(frames)
    return found


def image_names(root: Path, part: str) -> list[str]:
    """Return the names in `info/PART_name.txt`, one per line: identity, camera, tracklet, frame, as
    `0001C1T0001F001.jpg`.
    """
    path = root / "info" / f"{part}_name.txt"
    if not path.is_file():
        raise DataError(f"MARS: `info/{part}_name.txt` not found under {root}. {_HINT}")
    return list_text(path, "MARS").split()


def query_rows(root: Path, tracklets: int) -> list[int]:
    """Return the 0-based rows of the test tracklets that are queries."""
    path = root / "info" / "query_IDX.mat"
    rows = _matrix(path, "query_IDX").ravel()
    if len(rows) == 0 or rows.min() < 1 or rows.max() > tracklets:
        raise DataError(f"MARS: {path}: expected tracklet numbers from 1 to {tracklets}, found others or none. {_HINT}")
    return [int(row) - 1 for row in rows]


def _identity(name: str) -> int | None:
    try:
        return int(name[2:4] if name.startswith("00-") else name[:4])
    except ValueError:
        return None


def _matrix(path: Path, variable: str) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"MARS: `info/{path.name}` not found under {path.parent.parent}. {_HINT}")
    try:
        values = read_variable(path, variable)
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise DataError("they are not whole numbers")
    except DataError as error:
        raise DataError(f"MARS: {path} has no readable matrix {variable} ({error}). {_HINT}") from error
    return values.astype(np.int64)
