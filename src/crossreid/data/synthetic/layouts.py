"""Writers of the public layouts: complete copies, small, that the real readers read."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy.io import savemat

from crossreid.data.records import DataError, Modality
from crossreid.data.synthetic.cameras import CAMERAS
from crossreid.data.synthetic.people import Person, person
from crossreid.data.synthetic.render import image_of

TRIALS = 10


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to render: which person, by which of the six cameras, the how manieth, and where it is written.

    `camera` is the camera's number in the layout, which may have more cameras than the world.
    """

    identity: int
    rendered_by: int
    index: int
    path: str
    camera: int

    @property
    def modality(self) -> Modality:
        return CAMERAS[self.rendered_by].modality


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
    """Render a world of `identities` people into `out`, in the layout of `layout`; same arguments, same bytes.

    About a fifth of the people are for validation and a quarter for testing (RegDB: half for testing). `factors.csv` gives
    the ground truth of each image. What is written lies under a temporary name until it is complete.

    Args:
        out: a folder that does not exist yet, or is empty.
        layout: one of `LAYOUTS`.
        images_per_camera: images of each person and camera (RegDB: of each modality).
        size: (height, width) of the images, pixels.
        workers: rendering processes, by default one a core.

    Raises:
        DataError: an unknown layout, too few identities, or a folder that holds something.
    """
    out = Path(out)
    if layout not in LAYOUTS:
        raise DataError(f"layout {layout!r} is unknown. Expected one of {', '.join(LAYOUTS)}.")
    if identities < 4:
        raise DataError(f"identities is {identities}, expected 4 or more, so that training and test have two each.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty. Choose another folder, or delete it first.")
    plan, write_lists = LAYOUTS[layout]
    shots = plan(identities, images_per_camera)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = out.with_name(f".{out.name}.{os.getpid()}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        for folder in sorted({str(Path(shot.path).parent) for shot in shots}):
            (building / folder).mkdir(parents=True)
        rows = _render_all(building, shots, seed, size, workers or os.cpu_count() or 1, progress)
        with (building / "factors.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        write_lists(building, shots, identities, seed)
        if out.exists():
            out.rmdir()
        os.replace(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return out


def divide(identities: int) -> tuple[list[int], list[int], list[int]]:
    """Identities 1 ... n to train, to validate and to test: about 55, 20 and 25 in a hundred, two or more to test."""
    test = max(2, round(identities * 0.25))
    validate = max(1, round(identities * 0.2)) if identities >= 6 else 0
    numbers = list(range(1, identities + 1))
    train = identities - test - validate
    return numbers[:train], numbers[train : train + validate], numbers[train + validate :]


def _render_all(
    root: Path, shots: list[Shot], seed: int, size: tuple[int, int], workers: int, progress: bool
) -> list[dict[str, object]]:
    groups: dict[int, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.identity, []).append(shot)
    # Absolute: a worker that is used again may have started in another folder.
    tasks = [(str(root.absolute()), group, seed, size) for group in groups.values()]

    def shown(results: Iterator[list[dict[str, object]]]) -> list[dict[str, object]]:
        steps = track(
            results, "rendering", total=len(tasks), disable=not progress, console=Console(stderr=True)
        )  # fmt: skip
        return [row for rows in steps for row in rows]

    if workers == 1:
        return shown(map(_render_person, tasks))
    # joblib's processes do not import the caller's script again, so a script needs no `if __name__ == "__main__"`.
    return shown(Parallel(workers, return_as="generator")(delayed(_render_person)(task) for task in tasks))


def _render_person(task: tuple[str, list[Shot], int, tuple[int, int]]) -> list[dict[str, object]]:
    root, shots, seed, size = task
    who: Person = person(seed, shots[0].identity)
    known = who.factors()
    rows = []
    for shot in shots:
        pixels, seen = image_of(who, seed, shot.identity, shot.rendered_by, shot.index, size)
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


def _sysu_shots(identities: int, images: int) -> list[Shot]:
    return [
        Shot(i, camera, k, f"cam{camera}/{i:04d}/{k + 1:04d}.jpg", camera)
        for i in range(1, identities + 1)
        for camera in CAMERAS
        for k in range(images)
    ]


def _sysu_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    train, validate, test = divide(identities)
    (root / "exp").mkdir()
    everyone = [*train, *validate, *test]
    for name, numbers in (("train", train), ("val", validate), ("test", test), ("available", everyone)):
        (root / "exp" / f"{name}_id.txt").write_text(",".join(map(str, numbers)), encoding="ascii")
    draw = np.random.default_rng((seed, 99))
    images = 1 + max(shot.index for shot in shots)
    cameras = np.empty((len(CAMERAS), 1), dtype=object)
    for row in range(len(CAMERAS)):
        cells = np.empty((identities, 1), dtype=object)
        for cell in range(identities):
            cells[cell, 0] = np.stack([draw.permutation(images) + 1 for _ in range(TRIALS)]).astype(np.uint16)
        cameras[row, 0] = cells
    _save_mat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cameras})


def _save_mat(path: Path, content: dict[str, object]) -> None:
    """A MATLAB file without the date that its header would carry: same content, same bytes."""
    savemat(path, content, do_compression=True)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 5.0 MAT-file, written by crossreid".ljust(116))


def _regdb_shots(identities: int, images: int) -> list[Shot]:
    shots = []
    for folder, kind, cameras in (("Visible", "v", (1, 2, 4, 5)), ("Thermal", "t", (3, 6))):
        for i in range(1, identities + 1):
            for k in range(images):
                rendered_by = cameras[k % len(cameras)]
                path = f"{folder}/{i}/person_{kind}_{k + 1:05d}_{i}.bmp"
                shots.append(Shot(i, rendered_by, k, path, 1 if kind == "v" else 2))
    return shots


def _regdb_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    (root / "idx").mkdir()
    for trial in range(1, TRIALS + 1):
        order = [int(i) + 1 for i in np.random.default_rng((seed, 98, trial)).permutation(identities)]
        half = identities // 2
        for part, chosen in (("train", order[:half]), ("test", order[half:])):
            labels = {identity: label for label, identity in enumerate(chosen)}
            for name, folder in (("visible", "Visible"), ("thermal", "Thermal")):
                listed = [s for s in shots if s.path.startswith(folder) and s.identity in labels]
                listed.sort(key=lambda shot: (labels[shot.identity], shot.path))
                text = "".join(f"{shot.path} {labels[shot.identity]}\r\n" for shot in listed)
                (root / "idx" / f"{part}_{name}_{trial}.txt").write_bytes(text.encode("ascii"))


# LLCM has nine visible cameras and eight infrared ones (no camera 3): each stands for one of the world's six.
_LLCM_CAMERAS = {
    "vis": {1: 1, 2: 2, 3: 4, 4: 5, 5: 1, 6: 2, 7: 4, 8: 5, 9: 1},
    "nir": {1: 3, 2: 6, 4: 3, 5: 6, 6: 3, 7: 6, 8: 3, 9: 6},
}


def _llcm_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    training = {*train, *validate}
    shots = []
    for kind, cameras in _LLCM_CAMERAS.items():
        for i in range(1, identities + 1):
            # As in the public set, a person is seen by some of the cameras only.
            here = [c for c in cameras if (c + i) % 3 != 0][:3] if i in training or test else []
            for camera in here:
                for k in range(images):
                    name = f"{i:04d}_c{camera:02d}_s{100000 + i:06d}_f{k * 15:05d}_{kind}.jpg"
                    folder = f"{kind}/{i:04d}" if i in training else f"test_{kind}/cam{camera}/{i:04d}"
                    shots.append(Shot(i, cameras[camera], camera * 1000 + k, f"{folder}/{name}", camera))
    return shots


def _llcm_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    train, validate, test = divide(identities)
    (root / "idx").mkdir()
    for part, chosen in (("train", [*train, *validate]), ("test", test)):
        labels = {identity: label for label, identity in enumerate(chosen)}
        for kind in _LLCM_CAMERAS:
            lines = [
                f"{kind}/{shot.identity:04d}/{Path(shot.path).name} {labels[shot.identity]}\n"
                for shot in shots
                if shot.identity in labels and Path(shot.path).stem.endswith(kind)
            ]
            (root / "idx" / f"{part}_{kind}.txt").write_text("".join(lines), encoding="ascii")
    (root / "idx" / "test_id.txt").write_text(",".join(f"{i:04d}" for i in test) + "\n", encoding="ascii")


def _manifest_shots(identities: int, images: int) -> list[Shot]:
    return [
        Shot(i, camera, k, f"images/person-{i:04d}/c{camera}_{k + 1:04d}.jpg", camera)
        for i in range(1, identities + 1)
        for camera in CAMERAS
        for k in range(images)
    ]


def _manifest_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    parts = zip(("train", "val", "test"), divide(identities), strict=True)
    split = {identity: name for name, chosen in parts for identity in chosen}
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "identity", "camera", "modality", "tracklet", "split"))
        for shot in shots:
            name = f"person-{shot.identity:04d}"
            role = split[shot.identity]
            if role == "test":
                role = "query" if shot.modality == Modality.INFRARED else "gallery"
            tracklet = f"{name}-c{shot.camera}"
            writer.writerow((shot.path, name, shot.camera, shot.modality.name.lower(), tracklet, role))


LAYOUTS: dict[str, tuple[Callable[[int, int], list[Shot]], Callable[[Path, list[Shot], int, int], None]]] = {
    "sysu-mm01": (_sysu_shots, _sysu_lists),
    "regdb": (_regdb_shots, _regdb_lists),
    "llcm": (_llcm_shots, _llcm_lists),
    "manifest": (_manifest_shots, _manifest_lists),
}
