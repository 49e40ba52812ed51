"""Writers of the layouts of video sets: MARS, DukeMTMC-VideoReID, and a manifest of visible and infrared tracklets."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.layouts import save_mat
from crossreid.data.synthetic.plan import Layout, Shot, divide
from crossreid.data.synthetic.walks import FILMING, index_of

# The cameras of a visible set, by who renders them: 3 and 6 by day.
VISIBLE_CAMERAS = {1: 1, 2: 2, 3: 13, 4: 4, 5: 5, 6: 16}
_MIXED = {number: number for number in range(1, 7)}


def _films(identity: int, cameras: dict[int, int], frames: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (camera, rendered by, tracklet, frames) of one identity: four or five cameras, one or two tracklets each,
    of half to one and a half times `frames`."""
    for camera, rendered_by in cameras.items():
        if (identity + 2 * camera) % 5 == 0:
            continue
        for tracklet in range(2 if (identity + camera) % 3 == 0 else 1):
            length = frames * (2 + (identity + camera + 2 * tracklet) % 5) // 4
            yield camera, rendered_by, tracklet, max(length, 1)


def others(identities: int) -> tuple[list[int], list[int]]:
    """Return numbers of people outside the world: those in distractor tracklets, and those in junk tracklets."""
    count = max(2, identities // 8)
    first = identities + 1
    return list(range(first, first + count)), list(range(first + count, first + 2 * count))


def _mars_shots(identities: int, images: int) -> list[Shot]:
    train, validate, _ = divide(identities)
    distracting, junk = others(identities)
    shots = []
    for identity in range(1, junk[-1] + 1):
        name = "0000" if identity in distracting else "00-1" if identity in junk else f"{identity:04d}"
        folder = f"bbox_{'train' if identity in (*train, *validate) else 'test'}/{name}"
        # All distractors have one name in MARS, so their tracklets are numbered consecutively.
        before = 10 * (identity - identities) if identity > identities else 0
        for camera, rendered_by, tracklet, frames in _films(identity, VISIBLE_CAMERAS, images):
            start = f"{name}C{camera}T{before + tracklet + 1:04d}"
            shots += [
                Shot(identity, rendered_by, index_of(tracklet, k), f"{folder}/{start}F{k + 1:03d}.jpg", camera)
                for k in range(frames)
            ]
    return shots


def mars_lists(root: Path, shots: list[Shot], identities: int = 0, seed: int = 0) -> None:
    """Write the lists for the frames of `shots`, whose names state identity, camera and tracklet."""
    (root / "info").mkdir()
    for part in ("train", "test"):
        names = sorted(Path(shot.path).name for shot in shots if shot.path.startswith(f"bbox_{part}"))
        rows: list[list[int]] = []
        asked: dict[tuple[int, int], int] = {}
        for place, name in enumerate(names, start=1):
            if place > 1 and name.rpartition("F")[0] == names[place - 2].rpartition("F")[0]:
                rows[-1][1] = place
                continue
            identity, camera = int(name[2:4] if name.startswith("00-") else name[:4]), int(name[5])
            rows.append([place, place, identity, camera])
            if identity > 0:
                asked.setdefault((identity, camera), len(rows))
        (root / "info" / f"{part}_name.txt").write_text("".join(f"{name}\n" for name in names), encoding="ascii")
        save_mat(root / "info" / f"tracks_{part}_info.mat", {f"track_{part}_info": np.array(rows, dtype=np.float64)})
        if part == "test":
            save_mat(root / "info" / "query_IDX.mat", {"query_IDX": np.array([list(asked.values())], dtype=np.float64)})


def _duke_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    distracting, _ = others(identities)
    shots = []
    for identity in (*train, *validate, *test, *distracting):
        for number, (camera, rendered_by, tracklet, frames) in enumerate(_films(identity, VISIBLE_CAMERAS, images)):
            part = (
                "train"
                if identity in (*train, *validate)
                else "query"
                if number == 0 and identity in test
                else "gallery"
            )
            for k in range(frames):
                name = f"{identity:04d}_C{camera}_F{k + 1:04d}_X{1000 * tracklet + 10 * k:05d}.jpg"
                where = f"{part}/{identity:04d}/{number + 1:04d}/{name}"
                shots.append(Shot(identity, rendered_by, index_of(tracklet, k), where, camera))
    return shots


def _tracklet_shots(identities: int, images: int) -> list[Shot]:
    shots = []
    for identity in range(1, identities + 1):
        for camera, rendered_by, tracklet, frames in _films(identity, _MIXED, images):
            folder = f"tracklets/person-{identity:04d}/c{camera}t{tracklet + 1}"
            shots += [
                Shot(
                    identity,
                    rendered_by,
                    index_of(tracklet, k),
                    f"{folder}/{k + 1:04d}.jpg",
                    camera,
                    FILMING[rendered_by].modality,
                )
                for k in range(frames)
            ]
    return shots


def _tracklet_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    parts = zip(("train", "val", "test"), divide(identities), strict=True)
    split = {identity: name for name, chosen in parts for identity in chosen}
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "identity", "camera", "modality", "tracklet", "split"))
        for shot in shots:
            role = split[shot.identity]
            if role == "test":
                role = "query" if shot.modality == Modality.INFRARED else "gallery"
            folder = Path(shot.path).parent
            kind = shot.modality.name.lower()
            writer.writerow((shot.path, folder.parent.name, shot.camera, kind, folder.name, role))


def _nothing(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    """Write nothing: the folders say everything."""


LAYOUTS: dict[str, Layout] = {
    "mars": Layout("walks", _mars_shots, mars_lists),
    "duke-video": Layout("walks", _duke_shots, _nothing),
    "tracklets": Layout("walks", _tracklet_shots, _tracklet_lists),
}
