"""Comparisons in which queries or gallery entries are sets of images: image to video, video to video, and in between.

A video is a tracklet, of which some frames are embedded, one from each of several equal chunks, and averaged; an image
is one frame. The image of a tracklet query is its first frame, as MARS and Duke-Video-ReID are scored (Porrello et al.,
ECCV 2020); if a data set lists images, each of them queries, by itself or with its tracklet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.tracklets import Place, Tracklet, spread_over, tracklet_name, tracklets_of
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import embed_sets
from crossreid.evaluation.features import Features, positions_of

IMAGE, VIDEO = 1, None
KINDS: dict[str, tuple[int | None, int | None]] = {
    "i2i": (IMAGE, IMAGE),
    "i2v": (IMAGE, VIDEO),
    "v2i": (VIDEO, IMAGE),
    "v2v": (VIDEO, VIDEO),
}


@dataclass(frozen=True, slots=True)
class SetSetting:
    """Images per query and per gallery entry: one, several of a tracklet, all (0), or those of a video (None)."""

    query: int | None
    gallery: int | None

    @property
    def name(self) -> str:
        return f"{_counted(self.query)} to {_counted(self.gallery)}"


def _counted(images: int | None) -> str:
    return {None: "video", 0: "all images", 1: "image"}.get(images, f"{images} images")


def image_counts(text: str) -> list[int]:
    """Parse `1,2,8,all` into [1, 2, 8, 0], without repeats. Raises `CrossreidError` for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "all" or (part.isdecimal() and int(part) > 0) for part in parts):
        raise CrossreidError(
            f"{text!r}: expected comma-separated numbers of images, or `all`, for example 1,2,4,8,all."
        )
    return list(dict.fromkeys(0 if part == "all" else int(part) for part in parts))


def settings_of(kinds: Iterable[str]) -> list[SetSetting]:
    """Return the settings of names in `KINDS`. Raises `CrossreidError` for any other name."""
    for kind in (kinds := list(kinds)):
        if kind not in KINDS:
            raise CrossreidError(f"unknown kind of comparison {kind!r}; choose from: {', '.join(KINDS)}.")
    return [SetSetting(*KINDS[kind]) for kind in kinds]


def set_features(
    method: Any,
    query: Sequence[Record],
    gallery: Sequence[Record],
    settings: Sequence[SetSetting],
    *,
    frames: int,
    first_frame: bool,
    place: Place = "middle",
    pictures_query: bool = False,
    skip: bool = False,
    advance: Callable[..., object] | None = None,
    **reading: Any,
) -> dict[str, Features]:
    """Return features by setting name, queries first; each image is embedded once for all settings.

    If there are both modalities, each setting is computed in both directions, infrared to visible first.

    Args:
        frames: the most frames per video, one from each equal chunk; a shorter tracklet is used completely.
        first_frame: whether the image of a tracklet is only its first frame; else every image counts by itself.
        place: the frame of a chunk, as in `spread_over`; a repeated frame counts several times in the mean.
        pictures_query: whether a video query is one per image of `query`: the tracklet of its name in the gallery, to
            which the image itself is not added, or if there is none, that of the images.
        skip: leave unreadable frames out of their set, with a warning; else they are an error that names them.
        reading: as in `embed_sets`.

    Raises:
        DataError: there is nothing to compare, or no image of a set can be read.
    """
    plans: dict[str, tuple[list[Tracklet], list[Tracklet]]] = {}
    for direction, asking, answering in _directions(query, gallery):
        pool = [*asking, *answering]
        for setting in settings:
            plans[f"{direction}{setting.name}"] = (
                _of_pictures(asking, answering, setting.query, frames, place)
                if pictures_query and setting.query != IMAGE
                else _entries(asking, pool, setting.query, frames, first_frame, place),
                _entries(answering, answering, setting.gallery, frames, first_frame, place),
            )
    if not all(side for plan in plans.values() for side in plan):
        raise DataError("query or gallery is empty; expected a tracklet or an image on both sides.")
    unique = {
        entry: position for position, entry in enumerate(dict.fromkeys(e for p in plans.values() for s in p for e in s))
    }
    embeddings = embed_sets(method, [entry.frames for entry in unique], skip=skip, advance=advance, **reading)
    return {
        name: _features(asking, answering, embeddings[[unique[entry] for entry in (*asking, *answering)]])
        for name, (asking, answering) in plans.items()
    }


def features_of_tracklets(
    method: Any,
    tracklets: Sequence[Tracklet],
    roles: Sequence[str],
    *,
    frames: int,
    place: Place = "middle",
    skip: bool = False,
    advance: Callable[..., object] | None = None,
    **reading: Any,
) -> Features:
    """Return features of videos in their order, each with its role; the other arguments as in `set_features`."""
    seen = [_seen(tracklet, frames, place) for tracklet in tracklets]
    embeddings = embed_sets(method, [each.frames for each in seen], skip=skip, advance=advance, **reading)
    return replace(_features(seen, [], embeddings), roles=np.array(roles))


def _directions(
    query: Sequence[Record], gallery: Sequence[Record]
) -> list[tuple[str, Sequence[Record], Sequence[Record]]]:
    everyone = list(dict.fromkeys((*query, *gallery)))
    by = {modality: [record for record in everyone if record.modality == modality] for modality in (INFRARED, VISIBLE)}
    if not (by[INFRARED] and by[VISIBLE]):
        return [("", query, gallery)]
    return [
        ("infrared to visible, ", by[INFRARED], by[VISIBLE]),
        ("visible to infrared, ", by[VISIBLE], by[INFRARED]),
    ]


def _entries(
    records: Sequence[Record],
    pool: Sequence[Record],
    images: int | None,
    frames: int,
    first_frame: bool,
    place: Place,
) -> list[Tracklet]:
    """Return the entries of one side. A tracklet with an image in `records` has all its frames in `pool`."""
    if images == IMAGE and not first_frame:
        return [Tracklet(tracklet_name(record), (record,)) for record in dict.fromkeys(records)]
    names = {tracklet_name(record) for record in records}
    whole = tracklets_of(dict.fromkeys(record for record in pool if tracklet_name(record) in names))
    if images == IMAGE:
        return [Tracklet(tracklet.name, tracklet.frames[:1]) for tracklet in whole]
    return [_seen(tracklet, frames if images is None else images, place) for tracklet in whole]


def _of_pictures(
    pictures: Sequence[Record], answering: Sequence[Record], images: int | None, frames: int, place: Place
) -> list[Tracklet]:
    """Return the tracklet that each image queries with: one per image, in their order."""
    whole = {tracklet.name: tracklet for pool in (pictures, answering) for tracklet in tracklets_of(pool)}
    return [
        _seen(whole[tracklet_name(picture)], frames if images is None else images, place)
        for picture in dict.fromkeys(pictures)
    ]


def _seen(tracklet: Tracklet, count: int, place: Place) -> Tracklet:
    """Return `tracklet` with only the `count` frames to embed; 0 for all."""
    if not count:
        return tracklet
    chosen = spread_over(len(tracklet.frames), count, place)
    return Tracklet(tracklet.name, tuple(tracklet.frames[position] for position in chosen))


def _features(asking: Sequence[Tracklet], answering: Sequence[Tracklet], embeddings: np.ndarray) -> Features:
    entries = [*asking, *answering]
    return Features(
        embeddings=embeddings,
        identities=np.array([entry.identity for entry in entries], dtype=np.str_),
        cameras=np.array([entry.camera for entry in entries], dtype=np.int64),
        modalities=np.array([int(entry.modality) for entry in entries], dtype=np.int64),
        positions=positions_of([(entry.identity, entry.camera) for entry in entries]),
        names=np.array([entry.frames[0].name for entry in entries], dtype=np.str_),
        roles=np.repeat(["query", "gallery"], [len(asking), len(answering)]),
        frames=np.array([entry.frames[0].frame for entry in entries], dtype=np.int64),
        tracklets=np.array([entry.name for entry in entries], dtype=np.str_),
    )
