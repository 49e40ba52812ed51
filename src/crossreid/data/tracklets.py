"""Tracklets, and how the images of a set are drawn from them.

A tracklet is one continuous recording of one identity by one camera. Every draw here is uniform and, if there are
enough images, without replacement; if not, images are used equally often, give or take one.
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
        "each of N chunks of ceil(length / N), with the last image repeated as padding "
        "(`padded_chunks`); or any N (`random`).",
    )
    items: Literal["images", "tracklets"] = Field(
        "images", description="What to draw for a set of one image: an image, or a tracklet and then any image of it."
    )


@dataclass(frozen=True, slots=True)
class Tracklet:
    """The images of one identity, camera and modality in temporal order; at least one.

    `name` is unique among the tracklets of a data set.
    """

    name: str
    frames: tuple[Record, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f"tracklet {self.name!r} is empty. Expected at least one frame; remove it from the lists.")

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
    """Return an image's tracklet, unique in its data set; for an image without one, the image itself."""
    if record.tracklet is None:
        return f"{record.name}#{record.modality.name}"
    return f"{record.identity}/{record.camera}/{record.modality.name}/{record.tracklet}"


def tracklets_of(records: Iterable[Record]) -> list[Tracklet]:
    """Return the tracklets of records, in canonical order of their first images; an image without one is its own."""
    groups: dict[str, list[Record]] = {}
    for record in in_order(records):
        groups.setdefault(tracklet_name(record), []).append(record)
    return [
        Tracklet(name, tuple(sorted(frames, key=lambda frame: (frame.frame, frame.path.as_posix()))))
        for name, frames in groups.items()
    ]


def one_of_each_chunk(length: int, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
    """Return positions `(count,)`, ascending, one in each of `count` equal chunks of 0 ... length - 1.

    With a generator, a random position of each chunk, else the middle one. With fewer positions than chunks, each is
    used about equally often.
    """
    _refuse_nothing(length, count)
    edges = np.arange(count + 1) * length / count
    if length < count or generator is None:
        return ((edges[:-1] + edges[1:]) / 2).astype(np.int64)
    # A position belongs to the chunk that it starts in, so chunks are as equal as whole numbers allow.
    whole = np.ceil(edges - 1e-9).astype(np.int64)
    return whole[:-1] + (generator.random(count) * np.diff(whole)).astype(np.int64)


def first_of_each_chunk(length: int, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
    """Return positions `(count,)`, ascending, one in each of `count` chunks of ceil(length / count), the last one past
    the end.

    Takes the first position of each chunk, or with a generator a random one. With fewer positions than chunks: each
    once, and the last one for the rest. The release of views knowledge distillation does this (Porrello et al., ECCV
    2020): long tracklets may end early or in repeats.
    """
    _refuse_nothing(length, count)
    size = -(-length // count)
    within = 0 if generator is None else generator.integers(0, size, size=count)
    return np.minimum(np.arange(count) * size + within, length - 1)


def spread_over(length: int, count: int, place: Place = "middle") -> np.ndarray:
    """Return positions of at most `count` images of a tracklet for testing: all of a short one, else one per equal
    chunk.

    With place `first`, always `count` positions, as in `first_of_each_chunk`.
    """
    if place == "first":
        return first_of_each_chunk(length, count)
    return np.arange(length) if length <= count else one_of_each_chunk(length, count)


def at_random(length: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` of the positions 0 ... length - 1 in random order."""
    _refuse_nothing(length, count)
    rounds = [generator.permutation(length) for _ in range(-(-count // length))]
    rounds[-1] = rounds[-1][: count - length * (len(rounds) - 1)]
    return generator.permutation(np.concatenate(rounds))


def across_cameras(groups: Sequence[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` members of `groups`, one group per camera, in random order.

    Cameras contribute as evenly as their sizes allow, a random choice of them one more; within a camera all are equally
    likely.
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
    """Return `count` members of `groups`, one group per tracklet, in random order: a random one of each in turn,
    cyclically.

    The tracklets' order is drawn once; members may repeat, as in the release of views knowledge distillation.
    """
    _refuse_nothing(sum(len(group) for group in groups), count)
    turns = np.resize(generator.permutation(len(groups)), count).tolist()
    drawn = [groups[turn][generator.integers(len(groups[turn]))] for turn in turns]
    return generator.permutation(np.array(drawn))


def _refuse_nothing(length: int, count: int) -> None:
    if length < 1 or count < 1:
        raise CrossreidError(
            f"expected at least one image to draw from, and at least one to draw; found {length} and {count}."
        )
