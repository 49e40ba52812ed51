"""Embeddings of the same images by several networks, brought into one order: images are told apart by their path.

Of an image that is a part of a picture the box belongs to its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossreid.data.records import DataError
from crossreid.evaluation.arrays import Side, read_side
from crossreid.evaluation.features import Features
from crossreid.evaluation.joining import BOTH_SIDES, Say, join

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False, slots=True)
class Aligned:
    """N images with E embeddings each.

    features: of the first file, with what protocols need; embeddings: E arrays `(N, D_e)`, row by row with it; boxes: by
    name of an image that is a part of its picture, the path and (left, top, right, bottom) in pixels.
    """

    features: Features
    embeddings: tuple[np.ndarray, ...]
    boxes: Mapping[str, tuple[str, Box]]


def read_aligned(
    files: Sequence[Path], galleries: Sequence[Path], protocol: str, *, say: Say = lambda line: None
) -> Aligned:
    """Files of embeddings of the same images, in the order of the first one's.

    Args:
        files: as `crossreid.evaluation.arrays` describes them, or folders that `crossreid embed` wrote, one a network. Where
            a file does not say who queries, its images do by modality, infrared against visible, or, of one modality, each
            against all others.
        galleries: where query and gallery are in files of their own, the galleries, in the same order; or none.
        say: called with lines about what was taken for what.

    Raises:
        DataError: a file cannot be read or has no names, or two are not of the same images; the first that differs is named.
    """
    if galleries and len(galleries) != len(files):
        raise DataError(
            f"{len(files)} files of query embeddings and {len(galleries)} of gallery embeddings: expected one each, in one order."
        )
    boxes: dict[str, tuple[str, Box]] = {}
    read = []
    for position, path in enumerate(files):
        query = _side(Path(path), boxes)
        if galleries:
            gallery = _side(Path(galleries[position]), boxes)
        else:
            query = gallery = _with_roles(query)
        read.append((path, join(query, gallery, protocol, say=_but_roles(say) if not galleries else say)))
    first, features = read[0]
    return Aligned(features, tuple(_rows_as(first, features, path, other) for path, other in read), boxes)


def _with_roles(side: Side) -> Side:
    """A side whose images are all both query and gallery where the file does not say."""
    return side if side.roles is not None else replace(side, roles=np.full(len(side), "both"))


def _but_roles(say: Say) -> Say:
    """Without the line about a file that is both sides, which is what is expected here."""
    return lambda line: None if BOTH_SIDES in line else say(line)


def _side(path: Path, boxes: dict[str, tuple[str, Box]]) -> Side:
    """A file's side; parts of pictures are named PATH#LEFT,TOP,RIGHT,BOTTOM and noted in `boxes`."""
    side = read_side(path)
    if side.names is None or not (side.names != "").all():
        raise DataError(
            f"{path} does not name its images, so that they cannot be found in another file. Expected an array names (of a "
            ".csv a column name); `crossreid embed` writes their paths."
        )
    if side.boxes is None or all(box is None for box in side.boxes):
        return side
    names = []
    for name, box in zip(side.names.tolist(), side.boxes, strict=True):
        names.append(name if box is None else f"{name}#{','.join(map(str, box))}")
        if box is not None:
            boxes[names[-1]] = (name, box)
    return replace(side, names=np.array(names, dtype=np.str_))


def _rows_as(first: Path, wanted: Features, path: Path, found: Features) -> np.ndarray:
    """The embeddings of `found` in the order of `wanted`.

    Raises:
        DataError: they are not of the same images, or disagree on whom one shows.
    """
    ours, theirs = _keys(first, wanted), _keys(path, found)
    for one, other, rows, than in ((first, path, theirs, ours), (path, first, ours, theirs)):
        missing = [key for key in than if key not in rows]
        if missing:
            raise DataError(
                f"{other} lacks {len(missing)} of the {len(than)} images of {one}, {missing[0][1]} for example. Images are "
                "matched by their paths; embed the same source by both networks."
            )
    order = np.array([theirs[key] for key in ours])
    for name in ("identities", "modalities", "cameras"):
        differ = getattr(wanted, name) != getattr(found, name)[order]
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            raise DataError(
                f"{wanted.names[row]}: {first} and {path} differ in {name}, {getattr(wanted, name)[row]} and "
                f"{getattr(found, name)[order[row]]}. Embed the same source by both networks."
            )
    return found.embeddings[order]


def _keys(path: Path, features: Features) -> dict[tuple[str, str], int]:
    """The row of each (role, name)."""
    rows: dict[tuple[str, str], int] = {}
    for row, key in enumerate(zip(features.roles.tolist(), features.names.tolist(), strict=True)):
        if key in rows:
            raise DataError(f"{path} has {key[1]} twice; expected each image once.")
        rows[key] = row
    return rows
