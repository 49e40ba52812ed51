"""Write a city: videos, their ground truth, detections, training images, and what a watcher must know."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import yaml
from joblib import Parallel, delayed

from crossreid.data.records import DataError, Modality
from crossreid.data.synthetic.city.crops import Crop, write_crops
from crossreid.data.synthetic.city.films import video_library, write_film
from crossreid.data.synthetic.city.places import CAMERAS, CityCamera
from crossreid.data.synthetic.city.reach import reaches
from crossreid.data.synthetic.city.stage import Daylight, frame
from crossreid.data.synthetic.city.truth import detection_rows, truth_rows
from crossreid.data.synthetic.city.walking import Visit, visits_of
from crossreid.data.synthetic.new_folders import new_folder
from crossreid.data.synthetic.plan import divide
from crossreid.files import write_json, write_text
from crossreid.processors import processors
from crossreid.terminal import tracked

# People to train on are numbered from here; they walk on a separate day, in groups that never meet.
FIRST_TO_TRAIN, GROUP, TRAINING_SECONDS = 1001, 20, 900.0
# How many of five walkers are enrolled, and the most images of each per camera, from another day.
_ENROLLED, _IMAGES = 3, 2


@dataclass(frozen=True, slots=True)
class _Film:
    """What a process needs to render a camera's video."""

    root: Path
    camera: CityCamera
    people: int
    seed: int
    frames: int
    rate: Fraction
    size: tuple[int, int]


def synthesise_city(
    out: Path, people: int = 24, seed: int = 0, *, minutes: float = 3.0, others: int = 60, images: int = 10,
    size: tuple[int, int] = (180, 320), rate: float = 12.5, workers: int | None = None, progress: bool = False,
) -> Path:  # fmt: skip
    """Film a city of `people` into `out`; the same arguments and libraries give the same bytes.

    It writes films/CAMERA.mp4; gt/CAMERA.txt and det/CAMERA.txt, rows of MOT Challenge (`truth`); cameras.yaml,
    topology.yaml and city.json; training/manifest.csv with images of `others` who are not in the videos; and
    enrolment/manifest.csv with images of three in five of those who are, by day and from another day. people.csv says
    who has which number in the ground truth and whether they are enrolled. Everything is written under a temporary name
    until it is complete.

    Args:
        out: a folder that does not exist yet, or is empty.
        people: who walk in the videos, 2 to 1,000.
        minutes: length of each video; it gets dark half way.
        others: identities to train on, 4 or more.
        images: of each of them per camera, at most; twice that for a camera that sees by day and by night.
        size: (height, width) of the frames, pixels, even, 48 or more.
        rate: frames per second.
        workers: rendering processes, by default one per core.

    Raises:
        DataError: numbers outside these ranges, a folder that is not empty, or PyAV is not installed.
    """
    out = Path(out)
    if not 2 <= people <= 1000 or others < 4 or images < 1:
        raise DataError(
            f"a city of {people} people and {others} others, {images} images: expected 2 to 1000, 4 or more, 1 or more."
        )
    if min(size) < 48 or any(side % 2 for side in size):
        raise DataError(f"frames of {size[0]}x{size[1]}: expected an even height and width of at least 48 pixels.")
    if not 0 < rate <= 60 or not 2 <= minutes * 60 <= 24 * 3600:
        raise DataError(
            f"{minutes:g} minutes at {rate:g} frames per second: expected 2 seconds to a day, and up to 60."
        )
    video_library()
    exact = Fraction(rate).limit_denominator(1000)
    frames = round(minutes * 60 * exact)
    with new_folder(out) as building:
        for folder in ("films", "gt", "det", "training", "enrolment"):
            (building / folder).mkdir(parents=True)
        root = building.absolute()
        films = [_Film(root, camera, people, seed, frames, exact, size) for camera in CAMERAS]
        known = [number for number in range(1, people + 1) if number % 5 < _ENROLLED]
        groups = [
            list(range(start, min(start + GROUP, FIRST_TO_TRAIN + others)))
            for start in range(FIRST_TO_TRAIN, FIRST_TO_TRAIN + others, GROUP)
        ]
        tasks = [delayed(_film)(film) for film in films]
        tasks += [delayed(_enrol)(root, camera, known, seed, size) for camera in CAMERAS]
        tasks += [delayed(_train)(root, camera, group, seed, size, images) for camera in CAMERAS for group in groups]
        made = _run(tasks, workers or processors(), progress)
        enrolled, trained = made[len(films) : 2 * len(films)], made[2 * len(films) :]
        _write_manifests(root, [crop for crops in enrolled for crop in crops], [crop for crops in trained for crop in crops],
                         divide(others))  # fmt: skip
        _write_people(root, people, known)
        _write_plan(root, seed, people, films[0])
    return out


def daylight(seconds: float) -> Daylight:
    """Make it dark from half way on; dusk takes half a minute, or a sixth of a shorter video."""
    return Daylight(seconds / 2, min(30.0, seconds / 6))


def _run(tasks: Sequence, workers: int, progress: bool) -> list[list[Crop]]:
    def results() -> Iterator[list[Crop]]:
        if workers == 1:
            return (function(*given, **named) for function, given, named in tasks)
        return Parallel(workers, return_as="generator")(tasks)

    return list(tracked(results(), "filming", len(tasks), shown=progress))


def _film(film: _Film) -> list[Crop]:
    """Write the video of one camera with its ground truth and detections."""
    seconds = float(film.frames / film.rate)
    visits = _visits(range(1, film.people + 1), film.seed, seconds, film.camera.site)
    light, truth, found = daylight(seconds), [], []

    def images() -> Iterator[np.ndarray]:
        for index in range(film.frames):
            time = float(index / film.rate)
            draw = np.random.default_rng((film.seed, film.camera.number, index, 52))
            image, shown = frame(film.camera, visits, time, light, film.seed, film.size, draw)
            truth.extend(truth_rows(index + 1, shown))
            found.extend(detection_rows(index + 1, shown, film.size, draw))
            yield image

    write_film(film.root / "films" / f"{film.camera.name}.mp4", images(), film.rate)
    for folder, rows in (("gt", truth), ("det", found)):
        write_text(film.root / folder / f"{film.camera.name}.txt", "".join(f"{row}\n" for row in rows))
    return []


def _visits(whom: Sequence[int], seed: int, seconds: float, site: str, day: int = 0) -> list[Visit]:
    return [visit for who in whom for visit in visits_of(seed, who, seconds, day) if visit.site == site]


def _enrol(root: Path, camera: CityCamera, known: Sequence[int], seed: int, size: tuple[int, int]) -> list[Crop]:
    """Write images of another day, by day, in which each known person walks alone."""
    found: list[Crop] = []
    light = Daylight(TRAINING_SECONDS * 2, 30)
    for who in known:
        visits = _visits([who], seed, TRAINING_SECONDS, camera.site, day=1)
        found += write_crops(root / "enrolment", camera, visits, light, seed, size, _IMAGES, {Modality.VISIBLE})
    return found


def _train(
    root: Path, camera: CityCamera, group: Sequence[int], seed: int, size: tuple[int, int], images: int
) -> list[Crop]:
    visits = _visits(group, seed, TRAINING_SECONDS, camera.site)
    return write_crops(root / "training", camera, visits, daylight(TRAINING_SECONDS), seed, size, images, set(Modality))


def name_of(number: int) -> str:
    """Return a person's name in manifests and galleries, from the number in the ground truth."""
    return f"person-{number:04d}"


def _write_manifests(
    root: Path, enrolled: Sequence[Crop], trained: Sequence[Crop], parts: tuple[list[int], ...]
) -> None:
    split = {
        FIRST_TO_TRAIN - 1 + number: role for role, part in zip(("train", "val", "test"), parts, strict=True) for number in part
    }  # fmt: skip

    def role(crop: Crop) -> str:
        part = split[crop.identity]
        return part if part != "test" else "query" if crop.modality == Modality.INFRARED else "gallery"

    for folder, crops, columns in (("enrolment", enrolled, ()), ("training", trained, ("tracklet", "split"))):
        with (root / folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("path", "identity", "camera", "modality", *columns))
            for crop in sorted(crops, key=lambda crop: crop.path):
                more = (crop.tracklet, role(crop)) if columns else ()
                writer.writerow((crop.path, name_of(crop.identity), crop.camera, crop.modality.name.lower(), *more))


def _write_people(root: Path, people: int, known: Sequence[int]) -> None:
    with (root / "people.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("number", "name", "enrolled"))
        writer.writerows(
            (number, name_of(number), "yes" if number in known else "no") for number in range(1, people + 1)
        )


def _write_plan(root: Path, seed: int, people: int, film: _Film) -> None:
    """Write what is known about the cameras: as YAML for a watcher, as JSON for readers of the videos."""
    cameras = [
        {"name": camera.name, "source": f"films/{camera.name}.mp4", "modality": "infrared" if camera.by_day == Modality.INFRARED else
         "auto" if camera.outdoors else "visible"}
        for camera in CAMERAS
    ]  # fmt: skip
    write_text(root / "cameras.yaml", yaml.safe_dump({"cameras": cameras}, sort_keys=False))
    write_text(root / "topology.yaml", yaml.safe_dump(_topology(), sort_keys=False))
    seconds = float(film.frames / film.rate)
    write_json(
        root / "city.json",
        {
            "seed": seed,
            "people": people,
            "frames": film.frames,
            "rate": float(film.rate),
            "size": list(film.size),
            "dusk": daylight(seconds).dusk,
            "cameras": {camera.name: {"number": camera.number, "by_day": camera.by_day.name.lower(),
                                      "by_night": camera.by_night.name.lower()} for camera in CAMERAS},
        },
    )  # fmt: skip


def _topology() -> dict[str, object]:
    """Return a link for every two cameras: those with others between them have no latest time."""
    links: list[dict[str, object]] = []
    for reach in reaches():
        limits = {"overlap": True} if reach.overlap else {"seconds": [reach.least, reach.most]}
        links.append({"between": [reach.one, reach.other], **limits})
    return {"cameras": [camera.name for camera in CAMERAS], "links": links}
