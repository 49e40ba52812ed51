"""Writers of the layouts of visible sets with single images of people: Market-1501 and MSMT17."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crossreid.data.synthetic.plan import Layout, Shot, divide
from crossreid.data.synthetic.tracklet_layouts import VISIBLE_CAMERAS, others
from crossreid.data.synthetic.walks import index_of


def _sightings(identity: int) -> Iterator[tuple[int, int]]:
    """Yield (camera, rendered by) for the four or five cameras that see an identity."""
    return ((camera, by) for camera, by in VISIBLE_CAMERAS.items() if (identity + 2 * camera) % 5)


def _market_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    distracting, junk = others(identities)
    shots = []
    for i in (*train, *validate, *test, *distracting, *junk):
        name = "0000" if i in distracting else "-1" if i in junk else f"{i:04d}"
        for camera, rendered_by in _sightings(i):
            for k in range(images):
                folder = "bounding_box_train" if i in (*train, *validate) else "bounding_box_test"
                if i in test and k == 0:
                    folder = "query"
                # All distractors have one name: the frame distinguishes them.
                file = f"{name}_c{camera}s1_{1000 * i + 25 * k:06d}_00.jpg"
                shots.append(Shot(i, rendered_by, index_of(0, k), f"{folder}/{file}", camera))
    return shots


def _msmt_shots(identities: int, images: int) -> list[Shot]:
    train, validate, test = divide(identities)
    shots = []
    for folder, chosen in (("train", [*train, *validate]), ("test", test)):
        for label, i in enumerate(chosen):
            for camera, rendered_by in _sightings(i):
                for k in range(images):
                    file = f"{label:04d}/{label:04d}_{k:03d}_{camera:02d}_0303morning_{100 * i + k:04d}_0.jpg"
                    shots.append(Shot(i, rendered_by, index_of(0, k), f"{folder}/{file}", camera))
    return shots


def _msmt_lists(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    """Write the lists: per identity and camera, the last training image is in `list_val`, the first test image in
    `list_query`.
    """
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    last = 1 + max(int(Path(shot.path).name.split("_")[1]) for shot in shots)
    for shot in shots:
        folder, _, image = shot.path.partition("/")
        number = int(Path(image).name.split("_")[1])
        name = ("val" if 0 < number == last - 1 else "train") if folder == "train" else "gallery" if number else "query"
        lists[name].append(f"{image} {int(image[:4])}\n")
    for name, lines in lists.items():
        (root / f"list_{name}.txt").write_text("".join(lines), encoding="ascii")


def _nothing(root: Path, shots: list[Shot], identities: int, seed: int) -> None:
    """Write nothing: the names say everything."""


LAYOUTS: dict[str, Layout] = {
    "market-1501": Layout("walks", _market_shots, _nothing),
    "msmt17": Layout("walks", _msmt_shots, _msmt_lists),
}
