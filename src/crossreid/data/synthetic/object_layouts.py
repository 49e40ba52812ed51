"""Writers of the layouts of vehicle and animal sets, all in visible light."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from crossreid.data.readers.veri_776 import COLOURS, TYPES
from crossreid.data.synthetic import animal_images, animals, vehicle_images, vehicles
from crossreid.data.synthetic.plan import Layout, Shot, divide


def _veri_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    training, shots = {*train, *validate}, []
    for i in (*train, *validate, *test):
        # As in the public set, a vehicle passes only some cameras.
        for camera in (c for c in vehicle_images.CAMERAS if (c + i) % 4 != 0):
            for k in range(images):
                name = f"{i:04d}_c{camera:03d}_{800 * i + 60 * camera + 5 * k:08d}_0.jpg"
                folders = ["image_train"] if i in training else ["image_test", *(["image_query"] if k == 0 else [])]
                shots += [Shot(i, camera, k, f"{folder}/{name}", camera) for folder in folders]
    return shots


def _veri_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    for part in ("train", "query", "test"):
        names = [Path(shot.path).name for shot in shots if shot.path.startswith(f"image_{part}/")]
        (root / f"name_{part}.txt").write_text("".join(f"{name}\n" for name in names), encoding="ascii")
    items = []
    for shot in (shot for shot in shots if shot.path.startswith("image_train/")):
        who = vehicles.vehicle(seed, shot.identity)
        colour, kind = 1 + COLOURS.index(who.paint.colour), 1 + TYPES.index(who.form.type)
        items.append(
            f'<Item imageName="{Path(shot.path).name}" vehicleID="{shot.identity:04d}" cameraID="c{shot.camera:03d}" '
            f'colorID="{colour}" typeID="{kind}"/>'
        )
    head = '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0">\n'
    text = f'{head}<Items number="{len(items)}">\n' + "\n".join(items) + "\n</Items>\n</TrainingImages>\n"
    (root / "train_label.xml").write_bytes(text.encode("gb2312"))
    for name, words in (("color", COLOURS), ("type", TYPES)):
        lines = "".join(f"{number} {word}\n" for number, word in enumerate(words, start=1))
        (root / f"list_{name}.txt").write_text(lines, encoding="ascii")


def _atrw_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    shots: list[Shot] = []
    for i in (*train, *validate, *test):
        # As in the public set, some are seen by only one camera: every third test animal.
        alone = i in test and test.index(i) % 3 == 2
        for camera in [1 + i % len(animal_images.CAMERAS)] if alone else animal_images.CAMERAS:
            for k in range(images * 2 if alone else images):
                folder = "test" if i in test else "train"
                shots.append(Shot(i, camera, k, f"{folder}/{len(shots):06d}.jpg", camera))
    return shots


def _atrw_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    test = [shot for shot in shots if shot.path.startswith("test/")]
    for name, header, rows in (
        ("train", ("file", "Class"), [(Path(s.path).name, s.identity) for s in shots if s not in test]),
        ("test", ("filepaths",), [(Path(shot.path).name,) for shot in test]),
    ):
        with (root / f"reid_list_{name}.csv").open("w", newline="", encoding="ascii") as stream:
            csv.writer(stream).writerows([header, *rows])
    cameras: dict[int, set[int]] = {}
    for shot in test:
        cameras.setdefault(shot.identity, set()).add(shot.camera)
    query = {identity: "multi" if len(seen) > 1 else "sing" for identity, seen in cameras.items()}
    plain = [
        {"query": query[s.identity], "entityid": s.identity, "frame": _frame(s), "imgid": int(Path(s.path).stem)}
        for s in test
    ]
    (root / "gt_test_plain.json").write_text(json.dumps(plain), encoding="ascii")
    with Image.open(root / test[0].path) as image:
        width, height = image.size
    (root / "wild").mkdir()
    wild: dict[str, list[dict[str, object]]] = {}
    for number, group in enumerate(_pictures(test), start=1):
        who = [(animals.animal(seed, shot.identity), shot.identity) for shot in group]
        first = group[0]
        pixels, boxes = animal_images.wild_image_of(
            who, seed, first.camera, first.index, (height * 3 // 2, width * 5 // 2)
        )
        Image.fromarray(pixels).save(root / "wild" / f"{number:04d}.jpg", quality=92)
        wild[str(number)] = [
            {"bbox": list(box), "query": query[shot.identity], "eid": shot.identity, "fid": _frame(first)}
            for shot, box in zip(group, boxes, strict=True)
        ]
    (root / "gt_test_wild.json").write_text(json.dumps(wild), encoding="ascii")


def _frame(shot: Shot) -> list[int]:
    """Return place, camera at the place, and frame number: there are two cameras at each place."""
    return [(shot.camera - 1) // 2, (shot.camera - 1) % 2, 1000 * shot.identity + 25 * shot.index]


def _pictures(test: list[Shot]) -> list[list[Shot]]:
    """Group test images into wild pictures: the first ones of two animals by a camera together, all others alone."""
    groups: list[list[Shot]] = []
    waiting: dict[int, list[Shot]] = {}
    for shot in test:
        pair = waiting.get(shot.camera)
        if shot.index == 0 and pair is not None:
            pair.append(shot)
            del waiting[shot.camera]
            continue
        groups.append([shot])
        if shot.index == 0:
            waiting[shot.camera] = groups[-1]
    return groups


LAYOUTS: dict[str, Layout] = {
    "veri-776": Layout("vehicles", _veri_shots, _veri_lists),
    "atrw": Layout("animals", _atrw_shots, _atrw_lists),
}
