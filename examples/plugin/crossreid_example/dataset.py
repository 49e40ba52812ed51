"""A data set with one folder per identity, `ROOT/IDENTITY/CAMERA_NAME.jpg`; names start with the camera's number."""

from __future__ import annotations

from pathlib import Path

from crossreid.data.catalogue import register_dataset
from crossreid.data.records import DataError, Record, Split, in_order


@register_dataset("folders", title="Folders", protocol="cross-camera")
def read_folders(root: Path, *, train: float = 0.5) -> Split:
    """Trains on the first identities by name and tests on the others: the first image by each camera is a query.

    Args:
        train: share of the identities to train on.

    Raises:
        DataError: there is no image, or a name has no camera.
    """
    images = sorted(Path(root).glob("*/*.jpg"))
    if not images:
        raise DataError(f"folders: no image under {root}. Expected {root}/IDENTITY/CAMERA_NAME.jpg.")
    records = in_order(Record(path, path.parent.name, camera_of(path)) for path in images)
    identities = list(dict.fromkeys(record.identity for record in records))
    trained = set(identities[: round(train * len(identities))])
    test = [record for record in records if record.identity not in trained]
    first = {(record.identity, record.camera): record for record in reversed(test)}
    asking = set(first.values())
    return Split(
        name="folders",
        root=Path(root),
        protocol="cross-camera",
        train=tuple(record for record in records if record.identity in trained),
        query=tuple(record for record in test if record in asking),
        gallery=tuple(test),
    )


def camera_of(path: Path) -> int:
    number = path.name.split("_")[0]
    if not number.isdecimal():
        raise DataError(f"folders: {path}: expected a name CAMERA_NAME.jpg that starts with the camera's number.")
    return int(number)
