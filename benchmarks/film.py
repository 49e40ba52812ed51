"""Real photographs through the whole pipeline: films are made from them, then decoded, tracked, embedded and matched.

    python benchmarks/film.py IMAGES WEIGHTS OUT [--cows 16] [--epochs 0] [--size 136x80] [--seed 0] [--json FILE]

IMAGES is the folder of cattle photographs (or any with manifest.csv: path, identity, modality, split) and WEIGHTS a
file of timm's ImageNet weights. Of the training identities that were photographed by day and by night, every second one
passes three cameras: a photograph moves across a plain background and is replaced by the next one of the same animal
after a second, so that a pass has three pictures. `yard` films by day, `barn` by night, and `gate` switches to night
half way. The films are MPEG-4; the other identities are for training (--epochs above 0) and for calibration. Test
identities are never used, and no pictures leave OUT.

Scored against the ground truth: the number of identities found, tracks by themselves, tracks joined by the best fixed
cosine (chosen by the ground truth, which is optimistic), and tracks as `crossreid watch` joins them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

import crossreid
from cattle import recipe_of
from crossreid.data.images import load_image
from crossreid.errors import CrossreidError
from crossreid.evaluation.mot_rows import read_mot_rows
from crossreid.evaluation.track_scores import score_tracks
from crossreid.files import replacing, write_json, write_text
from crossreid.runs.calibrating import calibrate
from crossreid.runs.named_network import PretrainedNetwork, size_of
from crossreid.watching.watch import watch
from machine import machine
from watched_tracks import best_cosine, person_of, scored, tracks_of, within_and_across

SIZE, RATE = (240, 320), Fraction(10)
PASS, GAP, PICTURES, LANES = 36, 6, 3, 2
# Of each camera the modalities of the first and of the second half of its film.
CAMERAS = {
    "yard": ("visible", "visible"),
    "gate": ("visible", "infrared"),
    "barn": ("infrared", "infrared"),
}
_GROUND = {"visible": (126, 132, 104), "infrared": (92, 92, 92)}


@dataclass(frozen=True, slots=True)
class Pass:
    """An animal that crosses a camera's view from `start` on, a frame from 0, in one of LANES, by these pictures."""

    number: int
    pictures: tuple[Path, ...]
    start: int
    lane: int


def animals(images: Path) -> dict[str, dict[str, list[Path]]]:
    """The pictures by modality of each training identity that has PICTURES or more of both, in the order of the manifest."""
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    with (images / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["split"] == "train":
                found[row["identity"]][row["modality"]].append(images / row["path"])
    both = {who: dict(kinds) for who, kinds in sorted(found.items()) if len(kinds) == 2}
    return {who: kinds for who, kinds in both.items() if min(map(len, kinds.values())) >= PICTURES}


def passes(whom: dict[str, dict[str, list[Path]]], camera: str, seed: int) -> tuple[list[Pass], int]:
    """Who crosses a camera's view when, and how many frames its film has. Of `gate` half of the animals pass by day."""
    draw = np.random.default_rng((seed, list(CAMERAS).index(camera)))
    order = [int(each) for each in draw.permutation(len(whom))]
    names = list(whom)
    made = []
    for position, number in enumerate(order):
        kind = CAMERAS[camera][2 * position // len(order)]
        pictures = whom[names[number]][kind]
        first = int(draw.integers(0, len(pictures) - PICTURES + 1))
        start = (position // LANES) * (PASS + GAP) + int(draw.integers(0, GAP)) + GAP
        made.append(Pass(number + 1, tuple(pictures[first : first + PICTURES]), start, position % LANES))
    return made, max(one.start for one in made) + PASS + GAP


def placed(one: Pass, frame: int, picture: Image.Image) -> tuple[Image.Image, int, int]:
    """The picture as it is in a frame, scaled, and its left and top: it goes across and nods, and comes a little nearer."""
    done = (frame - one.start) / (PASS - 1)
    tall = round(SIZE[0] * 0.42 * (0.92 + 0.16 * done))
    wide = max(8, round(tall * min(1.2, picture.width / picture.height)))
    along = done if one.lane == 0 else 1 - done
    left = round((SIZE[1] + 0.6 * wide) * along - 0.8 * wide)
    top = round(SIZE[0] * (0.06 + 0.48 * one.lane) + 3 * np.sin(frame / 3 + one.number))
    return picture.resize((wide, tall), Image.Resampling.BILINEAR), left, top


def film_of(camera: str, crossing: Sequence[Pass], frames: int, seed: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Frames `(H, W, 3)` uint8 and their rows of truth."""
    noise = np.random.default_rng((seed, 7))
    texture = noise.normal(0, 9, (SIZE[0] // 8, SIZE[1] // 8)).repeat(8, 0).repeat(8, 1)[..., None]
    pictures = {path: Image.fromarray(load_image(path)) for one in crossing for path in one.pictures}
    for path, picture in pictures.items():
        picture.thumbnail((2 * SIZE[1], SIZE[0]))
        pictures[path] = picture
    half = min(one.start for one in crossing[len(crossing) // 2 :])
    for frame in range(frames):
        kind = CAMERAS[camera][int(frame >= half - GAP)]
        canvas = np.clip(np.array(_GROUND[kind]) + texture + noise.normal(0, 2, (*SIZE, 1)), 0, 255).astype(np.uint8)
        rows = []
        for one in crossing:
            if not one.start <= frame < one.start + PASS:
                continue
            path = one.pictures[(frame - one.start) * PICTURES // PASS]
            picture, left, top = placed(one, frame, pictures[path])
            x0, x1 = max(0, left), min(SIZE[1], left + picture.width)
            y0, y1 = max(0, top), min(SIZE[0], top + picture.height)
            if x1 - x0 < 4:
                continue
            canvas[y0:y1, x0:x1] = np.asarray(picture)[y0 - top : y1 - top, x0 - left : x1 - left]
            seen = (x1 - x0) * (y1 - y0) / (picture.width * picture.height)
            if seen >= 0.25:
                rows.append(f"{frame + 1},{one.number},{x0},{y0},{x1 - x0},{y1 - y0},1,1,{seen:.3f}")
        yield canvas, rows


def make_films(whom: dict[str, dict[str, list[Path]]], folder: Path, seed: int) -> None:
    """films/CAMERA.mp4 in MPEG-4, and gt/CAMERA.txt, which is also what was detected; whole or not at all."""
    with replacing(folder) as building:
        for name in ("films", "gt"):
            (building / name).mkdir(parents=True)
        for camera in CAMERAS:
            crossing, frames = passes(whom, camera, seed)
            rows: list[str] = []
            with av.open(str(building / "films" / f"{camera}.mp4"), "w") as film:
                stream = film.add_stream("mpeg4", rate=RATE)
                stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *SIZE, "yuv420p", 1_500_000
                for image, found in film_of(camera, crossing, frames, seed):
                    film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                    rows += found
                film.mux(stream.encode())
            write_text(building / "gt" / f"{camera}.txt", "".join(f"{row}\n" for row in rows))
        write_json(building / "animals.json", dict(enumerate(whom, start=1)))


def write_manifest(whom: dict[str, dict[str, list[Path]]], path: Path) -> Path:
    """The pictures of those who are not in the films; the last third is for validation, which calibration is on."""
    names = list(whom)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "identity", "modality", "split"))
        for position, name in enumerate(names):
            split = "val" if position >= 2 * len(names) // 3 else "train"
            split = "test" if position >= len(names) - 2 else split  # a manifest needs some; nothing looks at them
            rows = [(picture.absolute(), name, kind, split) for kind, each in whom[name].items() for picture in each]
            writer.writerows(rows)
    return path


def network_of(given: argparse.Namespace, manifest: Path) -> Path | PretrainedNetwork:
    """The network as its weights come, or trained on the other animals and calibrated on the last third of these."""
    size = size_of(given.size)
    if not given.epochs:
        return PretrainedNetwork(given.weights.stem, str(given.weights), *size)
    run = given.out / f"run-{given.epochs}"
    if not (run / "calibration.json").is_file():
        method = {"name": "baseline"}
        recipe = recipe_of(method, manifest, given.weights, size, given.epochs, given.set, arithmetic="32-true")
        crossreid.train(recipe, run)
        calibrate(run)
    return run


def measured(given: argparse.Namespace) -> dict[str, Any]:
    every = animals(given.images)
    names = list(every)
    filmed = {name: every[name] for name in names[0::2][: given.cows]}
    others = {name: every[name] for name in names if name not in filmed}
    if len(filmed) < 2:
        raise CrossreidError(
            f"{given.images}: expected 4 training identities or more with {PICTURES} pictures by day and by night."
        )
    given.out.mkdir(parents=True, exist_ok=True)
    place = given.out / f"films-{len(filmed)}-{given.seed}"
    if not place.exists():
        make_films(filmed, place, given.seed)
    model = network_of(given, write_manifest(others, given.out / "others.csv"))
    folder = given.out / f"watch-{len(filmed)}-{given.seed}-{given.epochs}"
    sources = [f"{camera}={place / 'films' / camera}.mp4" for camera in CAMERAS]
    notes: list[str] = []
    found = watch(sources, folder, model=model, detector=str(place / "gt"), keep_images=False, say=notes.append)
    truth = {camera: read_mot_rows(place / "gt" / f"{camera}.txt") for camera in CAMERAS}
    tracks = tracks_of(folder)
    threshold, joined = best_cosine(truth, tracks)
    shown_in, identities_of = defaultdict(set), defaultdict(set)
    for track in tracks:
        number = person_of(truth[track.camera], track)
        shown_in[track.identity].add(number)
        if number is not None:
            identities_of[number].add(track.identity)
    whole = sum(len(own) == 1 and all(len(shown_in[one]) == 1 for one in own) for own in identities_of.values())
    scores = {
        "alone": scored(truth, tracks, range(1, len(tracks) + 1)),
        "cosine": joined,
        "watch": score_tracks(place / "gt", folder / "tracks"),
    }
    return {
        "animals": len(filmed),
        "others": len(others),
        "frames": {counts.camera: counts.frames for counts in found.cameras},
        "tracks": len(tracks),
        "identities": found.identities,
        "whole": whole,
        "threshold": threshold,
        "notes": notes,
        "scores": {name: within_and_across(one) for name, one in scores.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cows", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--size", default="136x80", metavar="HxW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    result = measured(given)
    print(
        f"{result['animals']} animals in {len(CAMERAS)} films, {result['tracks']} tracks, {result['identities']} identities; "
        f"{result['whole']} animals have one identity that is theirs alone"
    )
    for name, score in result["scores"].items():
        within, across = score["within"], score["across"]
        print(
            f"{name}: IDF1 {100 * within['idf1']:.1f} within, {100 * across['idf1']:.1f} across; "
            f"HOTA {100 * across['hota']:.1f} across"
        )
    if given.json:
        told = {key: getattr(given, key) for key in ("epochs", "size", "seed")} | {"weights": given.weights.stem}
        write_json(given.json, {"machine": machine(), **told, **result})


if __name__ == "__main__":
    try:
        main()
    except CrossreidError as error:
        sys.exit(str(error))
