"""Writers of the layouts of cross-modal sets, with people seen by six cameras."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from crossreid.data.records import Modality
from crossreid.data.synthetic.cameras import CAMERAS
from crossreid.data.synthetic.plan import Layout, Shot, divide

TRIALS = 10


def _sysu_shots(identities: int, images: int) -> list[Shot]:
    return [
        Shot(i, camera, k, f"cam{camera}/{i:04d}/{k + 1:04d}.jpg", camera, CAMERAS[camera].modality)
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
    save_mat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cameras})


def save_mat(path: Path, content: dict[str, object]) -> None:
    """Write a MATLAB file without the date in its header: same content, same bytes."""
    from scipy.io import savemat  # imported here, as in `matfile`

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
                shots.append(Shot(i, rendered_by, k, path, 1 if kind == "v" else 2, CAMERAS[rendered_by].modality))
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
            # As in the public set, a person is seen only by some cameras.
            here = [c for c in cameras if (c + i) % 3 != 0][:3] if i in training or test else []
            for camera in here:
                for k in range(images):
                    name = f"{i:04d}_c{camera:02d}_s{100000 + i:06d}_f{k * 15:05d}_{kind}.jpg"
                    folder = f"{kind}/{i:04d}" if i in training else f"test_{kind}/cam{camera}/{i:04d}"
                    seen_by = cameras[camera]
                    where = f"{folder}/{name}"
                    shots.append(Shot(i, seen_by, camera * 1000 + k, where, camera, CAMERAS[seen_by].modality))
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
        Shot(i, camera, k, f"images/person-{i:04d}/c{camera}_{k + 1:04d}.jpg", camera, CAMERAS[camera].modality)
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


LAYOUTS: dict[str, Layout] = {
    "sysu-mm01": Layout("people", _sysu_shots, _sysu_lists),
    "regdb": Layout("people", _regdb_shots, _regdb_lists),
    "llcm": Layout("people", _llcm_shots, _llcm_lists),
    "manifest": Layout("people", _manifest_shots, _manifest_lists),
}
