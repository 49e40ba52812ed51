"""LLCM (Zhang and Wang, CVPR 2023): low light, 9 cameras, near-infrared and visible; layout in docs/datasets.md."""

from __future__ import annotations

import re
from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.image_names import JPEG, images_in
from crossreid.data.readers.holdout import hold_out
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Modality, Record, Split, in_order

KINDS = {"vis": Modality.VISIBLE, "nir": Modality.INFRARED}
_CAMERA = re.compile(r"_c(\d+)_")
_HINT = "Expected the layout in docs/datasets.md#llcm; run `crossreid check llcm ROOT`."


def missing_test_images(root: Path, official: bool) -> list[str]:
    """Return missing test images that the lists name; the reader itself takes what is in the folders."""
    try:
        listed = [record for kind in KINDS for record in read_list(root, f"test_{kind}.txt", kind)]
    except DataError as error:
        return [str(error)]
    found = {record.path.name for kind in KINDS for record in test_images(root, kind)}
    missing = [record.path.name for record in listed if record.path.name not in found]
    return [f"listed in idx/test_*.txt but not in test_vis/ or test_nir/: {image}" for image in missing]


@register_dataset(
    "llcm",
    title="LLCM",
    protocol="llcm",
    official={
        "train identities": 713,
        "test identities": 351,
        "train visible images": 16_946,
        "train infrared images": 13_975,
        "test visible images": 8_680,
        "test infrared images": 7_166,
    },
    licence="for research, by agreement with the authors at Xiamen University",
    citation=Citation(
        "Zhang and Wang",
        "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark",
        "CVPR",
        2023,
    ),
    page="docs/datasets.md#llcm",
    layout=("vis", "nir", "idx"),
    list_problems=missing_test_images,
)
def parse(root: Path, *, validation: int = 0) -> Split:
    """Read the official split: 713 training identities (lists), 351 test identities (folders `test_vis/`, `test_nir/`).

    Args:
        validation: training identities to hold out, always the same ones for a given number.

    Raises:
        DataError: a list or a folder is missing, or a line or a name does not follow the layout.
    """
    root = Path(root)
    listed = [record for kind in KINDS for record in read_list(root, f"train_{kind}.txt", kind)]
    train, held_out = hold_out(listed, validation, seed=0)
    test = {kind: test_images(root, kind) for kind in KINDS}
    return Split(
        name="llcm",
        root=root,
        protocol="llcm",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(test["nir"])),
        gallery=tuple(in_order(test["vis"])),
    )


def read_list(root: Path, name: str, kind: str) -> list[Record]:
    """Return the records of one list in `idx/`: `vis/ID/ID_cCAMERA_....jpg label`."""
    path = root / "idx" / name
    if not path.is_file():
        raise DataError(f"LLCM: `idx/{name}` not found under {root}. {_HINT}")
    records = []
    for number, line in enumerate(list_text(path, "LLCM").splitlines(), start=1):
        if not line.strip():
            continue
        image, _, label = line.strip().rpartition(" ")
        camera = _CAMERA.search(Path(image).name)
        if not label.isdecimal() or camera is None or len(Path(image).parts) < 2:
            raise DataError(f"LLCM: {path}, line {number}: expected `{kind}/ID/ID_cNN_....jpg label`, found {line!r}.")
        records.append(Record(root / image, Path(image).parts[-2], int(camera[1]), KINDS[kind]))
    if not records:
        raise DataError(f"LLCM: {path} lists no image. {_HINT}")
    return records


def test_identities(root: Path) -> list[str]:
    """Return the folder names in `idx/test_id.txt`: one comma-separated line."""
    path = root / "idx" / "test_id.txt"
    if not path.is_file():
        raise DataError(f"LLCM: `idx/test_id.txt` not found under {root}. {_HINT}")
    return [part.strip() for part in list_text(path, "LLCM").replace("\n", ",").split(",") if part.strip()]


def test_images(root: Path, kind: str) -> list[Record]:
    """Return the test images of one modality, `test_KIND/camK/ID/*.jpg`, of the identities in `test_id.txt`."""
    folder = root / f"test_{kind}"
    if not folder.is_dir():
        raise DataError(f"LLCM: `test_{kind}/` not found under {root}. {_HINT}")
    records: list[Record] = []
    for camera in sorted(folder.glob("cam*")):
        number = camera.name.removeprefix("cam")
        if not number.isdecimal():
            raise DataError(f"LLCM: {camera}: expected folders cam1 ... cam9. {_HINT}")
        for identity in test_identities(root):
            paths = images_in(camera / identity, JPEG)
            records.extend(Record(path, identity, int(number), KINDS[kind]) for path in paths)
    if not records:
        raise DataError(f"LLCM: no image under {folder}. {_HINT}")
    return records
