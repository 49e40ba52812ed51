"""The rendered world: subjects, cameras, and small, complete copies of public data sets that the real readers read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from crossreid.data.records import DataError
from crossreid.data.synthetic import (
    animal_images,
    animals,
    layouts,
    object_layouts,
    people,
    people_images,
    street_layouts,
    tracklet_layouts,
    vehicle_images,
    vehicles,
    walks,
)
from crossreid.data.synthetic.new_folders import new_folder
from crossreid.data.synthetic.plan import Layout, Shot
from crossreid.processors import processors
from crossreid.terminal import tracked

PARALLEL = 1000  # number of images from which several processes are worth starting


@dataclass(frozen=True, slots=True)
class Subject:
    """Who or what a world shows.

    `make(seed, identity)` returns one of them, with `factors()`; `image(who, seed, identity, camera, index, size)`
    returns an image `(height, width, 3)` uint8 of it and a dataclass of its nuisance factors; both depend only on their
    arguments.
    """

    make: Callable[[int, int], Any]
    image: Callable[[Any, int, int, int, int, tuple[int, int]], tuple[np.ndarray, Any]]


SUBJECTS: dict[str, Subject] = {
    "people": Subject(people.person, people_images.image_of),
    "walks": Subject(people.person, walks.frame_of),
    "vehicles": Subject(vehicles.vehicle, vehicle_images.image_of),
    "animals": Subject(animals.animal, animal_images.image_of),
}
LAYOUTS: dict[str, Layout] = {
    **layouts.LAYOUTS,
    **tracklet_layouts.LAYOUTS,
    **street_layouts.LAYOUTS,
    **object_layouts.LAYOUTS,
}


def synthesise(
    out: Path,
    layout: str,
    identities: int,
    seed: int,
    *,
    images_per_camera: int = 10,
    size: tuple[int, int] = (256, 128),
    workers: int | None = None,
    progress: bool = False,
) -> Path:
    """Render a world of `identities` into `out`, in the layout `layout`; the same arguments give the same bytes.

    About a fifth of them are for validation and a quarter for testing (RegDB: half for testing). `factors.csv` holds
    the ground truth of each image. Everything is written under a temporary name until it is complete.

    Args:
        out: a folder that does not exist yet, or is empty.
        layout: one of `LAYOUTS`.
        images_per_camera: images per identity and camera (RegDB: per modality; video: frames).
        size: (height, width) of the images in pixels.
        workers: rendering processes, by default one per core, or a single one for few images.

    Raises:
        DataError: an unknown layout, too few identities, or a folder that is not empty.
    """
    out = Path(out)
    if layout not in LAYOUTS:
        raise DataError(f"layout {layout!r} is unknown. Expected one of {', '.join(LAYOUTS)}.")
    if identities < 4:
        raise DataError(f"identities is {identities}, expected 4 or more, so that training and test have two each.")
    plan = LAYOUTS[layout]
    shots = plan.shots(identities, images_per_camera)
    with new_folder(out) as building:
        for folder in sorted({str(Path(shot.path).parent) for shot in shots}):
            (building / folder).mkdir(parents=True)
        cores = processors() if len(shots) >= PARALLEL else 1
        rows = _render_all(building, plan.subject, shots, seed, size, workers or cores, progress)
        with (building / "factors.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        plan.lists(building, shots, identities, seed)
    return out


def _render_all(
    root: Path, subject: str, shots: list[Shot], seed: int, size: tuple[int, int], workers: int, progress: bool
) -> list[dict[str, object]]:
    groups: dict[int, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.identity, []).append(shot)
    # Absolute: a reused worker may have started in another folder.
    tasks = [(str(root.absolute()), subject, group, seed, size) for group in groups.values()]

    def shown(results: Iterator[list[dict[str, object]]]) -> list[dict[str, object]]:
        return [row for rows in tracked(results, "rendering", len(tasks), shown=progress) for row in rows]

    if workers == 1:
        return shown(map(_render_one, tasks))
    # joblib's processes do not import the caller's script again, so scripts need no `if __name__ == "__main__"`.
    return shown(Parallel(workers, return_as="generator")(delayed(_render_one)(task) for task in tasks))


def _render_one(task: tuple[str, str, list[Shot], int, tuple[int, int]]) -> list[dict[str, object]]:
    root, subject, shots, seed, size = task
    kind = SUBJECTS[subject]
    who = kind.make(seed, shots[0].identity)
    known = who.factors()
    rows = []
    for shot in shots:
        pixels, seen = kind.image(who, seed, shot.identity, shot.rendered_by, shot.index, size)
        image = Image.fromarray(pixels)
        path = Path(root, shot.path)
        if path.suffix == ".bmp":
            image.save(path)
        else:
            image.save(path, quality=92)
        where = {"path": shot.path, "identity": shot.identity, "camera": shot.camera}
        nuisances = {f"nuisance_{name}": value for name, value in asdict(seen).items()}
        rows.append({**where, "modality": shot.modality.name.lower(), **known, **nuisances})
    return rows
