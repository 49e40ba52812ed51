"""Tracklets, and how the images of a set are drawn from them.

A tracklet is what one camera films of one identity at a stretch. Every draw here is uniform and, as long as there are
images enough, without replacement; where there are not, each is taken as often as any other, give or take one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from crossreid.data.records import DataError, Modality, Record, in_order
from crossreid.errors import CrossreidError
from crossreid.options import Options

Place = Literal["middle", "first"]


class SetOptions(Options):
    size: int = Field(1, ge=1, le=256, description="N, images per set; 1 trains on single images.")
    source: Literal["tracklet", "tracklets", "cameras", "identity"] = Field(
        "tracklet",
        description="Where a set's images come from: one tracklet, the identity's tracklets in turn, its cameras as evenly as they "
        "allow, or any images of the identity (no camera labels needed).",
    )
    draw: Literal["chunks", "padded_chunks", "random"] = Field(
        "chunks",
        description="How N images are drawn from a tracklet: one from each of N equal chunks (`chunks`); one from "
        "each of N chunks of ceil(length / N), where the last image fills up what is missing "
        "(`padded_chunks`); or any N (`random`).",
    )
    items: Literal["images", "tracklets"] = Field(
        "images", description="What is drawn for a set of one image: an image, or a tracklet and then any image of it."
    )


@dataclass(frozen=True, slots=True)
class Tracklet:
    """The images of one identity, camera and modality in the order of time; at least one.

    `name` is unique among the tracklets of a data set.
    """

    name: str
    frames: tuple[Record, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f"tracklet {self.name!r} is empty. Expected one frame or more; remove it from the lists.")

    @property
    def identity(self) -> str:
        return self.frames[0].identity

    @property
    def camera(self) -> int:
        return self.frames[0].camera

    @property
    def modality(self) -> Modality:
        return self.frames[0].modality


def tracklet_name(record: Record) -> str:
    """The tracklet that an image is of, unique in its data set; of an image of no tracklet, the image itself."""
    if record.tracklet is None:
        return f"{record.name}#{record.modality.name}"
    return f"{record.identity}/{record.camera}/{record.modality.name}/{record.tracklet}"


def tracklets_of(records: Iterable[Record]) -> list[Tracklet]:
    """The tracklets of records, in the canonical order of their first images; an image of no tracklet is one by itself."""
    groups: dict[str, list[Record]] = {}
    for record in in_order(records):
        groups.setdefault(tracklet_name(record), []).append(record)
    return [
        Tracklet(name, tuple(sorted(frames, key=lambda frame: (frame.frame, frame.path.as_posix()))))
        for name, frames in groups.items()
    ]


def one_of_each_chunk(length: int, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
    """Positions `(count,)`, ascending, one in each of `count` equal chunks of 0 ... length - 1.

    With a generator any position of its chunk, else the middle one. Of fewer positions than chunks, each is taken about
    equally often.
    """
    _refuse_nothing(length, count)
    edges = np.arange(count + 1) * length / count
    if length < count or generator is None:
        return ((edges[:-1] + edges[1:]) / 2).astype(np.int64)
    # Whole positions belong to the chunk that they begin in, so that chunks are as equal as whole numbers allow.
    whole = np.ceil(edges - 1e-9).astype(np.int64)
    return whole[:-1] + (generator.random(count) * np.diff(whole)).astype(np.int64)


def first_of_each_chunk(length: int, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
    """Positions `(count,)`, ascending, one in each of `count` chunks of ceil(length / count), past the end the last one again.

    The first position of each chunk, or with a generator any of the chunk. Of fewer positions than chunks: each once, and the
    last one for the rest. So does the release of views knowledge distillation (Porrello et al., ECCV 2020): long
    tracklets may end early or in repeats.
    """
    _refuse_nothing(length, count)
    size = -(-length // count)
    within = 0 if generator is None else generator.integers(0, size, size=count)
    return np.minimum(np.arange(count) * size + within, length - 1)


def spread_over(length: int, count: int, place: Place = "middle") -> np.ndarray:
    """Positions of at most `count` images of a tracklet for testing: all of a short one, else one of each equal chunk.

    With place `first` always `count` positions, those of `first_of_each_chunk`.
    """
    if place == "first":
        return first_of_each_chunk(length, count)
    return np.arange(length) if length <= count else one_of_each_chunk(length, count)


def at_random(length: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` of the positions 0 ... length - 1 in random order."""
    _refuse_nothing(length, count)
    rounds = [generator.permutation(length) for _ in range(-(-count // length))]
    rounds[-1] = rounds[-1][: count - length * (len(rounds) - 1)]
    return generator.permutation(np.concatenate(rounds))


def across_cameras(groups: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` members of `groups`, one group a camera, in random order.

    Cameras give as equally many as their sizes allow, which give one more is drawn; within a camera any are as likely.
    """
    sizes = np.array([len(group) for group in groups])
    _refuse_nothing(int(sizes.sum()), count)
    again, count_left = divmod(count, int(sizes.sum()))
    shares = np.zeros(len(groups), dtype=np.int64)
    while (missing := count_left - int(shares.sum())) > 0:
        giving = generator.permutation(np.flatnonzero(shares < sizes))[:missing]
        shares[giving] += 1
    drawn = [
        np.asarray(group)[generator.permutation(len(group))[:share]]
        for group, share in zip(groups, shares, strict=True)
    ]
    return generator.permutation(np.concatenate([np.asarray(group) for group in groups] * again + drawn))


def across_tracklets(groups: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` members of `groups`, one group a tracklet, in random order: any one of each in turn, round and round.

    The tracklets' order is drawn once; a member may come again. So does the release of views knowledge distillation.
    """
    _refuse_nothing(sum(len(group) for group in groups), count)
    turns = np.resize(generator.permutation(len(groups)), count).tolist()
    drawn = [groups[turn][generator.integers(len(groups[turn]))] for turn in turns]
    return generator.permutation(np.array(drawn))


def _refuse_nothing(length: int, count: int) -> None:
    if length < 1 or count < 1:
        raise CrossreidError(
            f"expected one image or more to draw from, and one or more to draw; found {length} and {count}."
        )
