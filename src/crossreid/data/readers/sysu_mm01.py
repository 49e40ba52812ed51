"""SYSU-MM01 (Wu et al., ICCV 2017): cameras 1, 2, 4, 5 visible, 3 and 6 infrared; layout in docs/datasets.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.image_names import JPEG, images_in
from crossreid.data.matfile import read_variable
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Modality, Record, Split, in_order

CAMERAS = range(1, 7)
INFRARED_CAMERAS = (3, 6)
_HINT = "Expected the layout in docs/datasets.md#sysu-mm01; run `crossreid check sysu-mm01 ROOT`."


def missing_permutations(root: Path, official: bool) -> list[str]:
    """Check for the list that draws the official gallery, which the reader itself does not need."""
    if not official or (root / "exp" / "rand_perm_cam.mat").is_file():
        return []
    return ["exp/rand_perm_cam.mat not found: the official gallery cannot be drawn. Get it from the data set's owners."]


@register_dataset(
    "sysu-mm01",
    title="SYSU-MM01",
    protocol="sysu-mm01",
    official={
        "train identities": 296,
        "validation identities": 99,
        "test identities": 96,
        "test infrared images": 3803,
        "train+val identities": 395,
        "train+val visible images": 22_258,
        "train+val infrared images": 11_909,
    },
    licence="for research, by a signed agreement with the authors at Sun Yat-sen University",
    citation=Citation("Wu et al.", "RGB-Infrared Cross-Modality Person Re-Identification", "ICCV", 2017),
    page="docs/datasets.md#sysu-mm01",
    layout=("cam1", "cam3", "exp"),
    list_problems=missing_permutations,
)
def parse(root: Path, *, train_on: Literal["train", "train+val"] = "train") -> Split:
    """Read the official split: 296 training, 99 validation and 96 test identities.

    Args:
        train_on: `train` keeps the validation identities for validation; `train+val` trains on both, as for published
            figures, and leaves nothing to validate on.

    Raises:
        DataError: a list or a camera's folder is missing, or an option is unknown.
    """
    if train_on not in ("train", "train+val"):
        raise DataError(f"SYSU-MM01: train_on is {train_on!r}, expected 'train' or 'train+val'.")
    root = Path(root)
    records = {name: images_of(root, read_identities(root / "exp", f"{name}_id")) for name in ("train", "val", "test")}
    for name, found in records.items():
        if not found:
            raise DataError(f"SYSU-MM01: no images of the identities in exp/{name}_id under {root}. {_HINT}")
    both = train_on == "train+val"
    return Split(
        name="sysu-mm01",
        root=root,
        protocol="sysu-mm01",
        train=tuple(in_order(records["train"] + (records["val"] if both else []))),
        validation=() if both else tuple(in_order(records["val"])),
        query=tuple(in_order(r for r in records["test"] if r.modality == Modality.INFRARED)),
        gallery=tuple(in_order(r for r in records["test"] if r.modality == Modality.VISIBLE)),
    )


def read_identities(folder: Path, stem: str) -> list[int]:
    """Return the identity numbers in `stem`.txt (one comma-separated line) or, if missing, in `stem`.mat (variable
    `id`).
    """
    text, matlab = folder / f"{stem}.txt", folder / f"{stem}.mat"
    if text.is_file():
        parts = list_text(text, "SYSU-MM01").replace("\n", ",").split(",")
        wrong = [part for part in parts if part.strip() and not part.strip().isdecimal()]
        if wrong:
            raise DataError(f"SYSU-MM01: {text} holds {wrong[0]!r}; expected comma-separated identity numbers.")
        return [int(part) for part in parts if part.strip()]
    if matlab.is_file():
        try:
            values = read_variable(matlab)
        except DataError as error:
            raise DataError(f"SYSU-MM01: {matlab} cannot be read ({error}). Copy it again.") from error
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise DataError(f"SYSU-MM01: {matlab} holds no array of identity numbers.")
        return [int(value) for value in values.ravel()]
    raise DataError(f"SYSU-MM01: `exp/{stem}.txt` or `.mat` not found under {folder.parent}. {_HINT}")


def images_of(root: Path, identities: list[int]) -> list[Record]:
    """Return the images of these identities from all cameras; a camera may lack an identity, but not its folder."""
    records: list[Record] = []
    for camera in CAMERAS:
        folder = root / f"cam{camera}"
        if not folder.is_dir():
            raise DataError(f"SYSU-MM01: `cam{camera}/` not found under {root}. {_HINT}")
        modality = Modality.INFRARED if camera in INFRARED_CAMERAS else Modality.VISIBLE
        for identity in identities:
            paths = images_in(folder / f"{identity:04d}", JPEG)
            records.extend(Record(path, str(identity), camera, modality) for path in paths)
    return records
