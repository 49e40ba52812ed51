"""MSMT17 (Wei et al., CVPR 2018): people on a campus, 15 cameras, indoors and outdoors; layout in docs/datasets.md."""

from __future__ import annotations

from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Record, Split, in_order

# Both releases hold the same images; the second one blurs faces, and names its folders differently.
FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}
LISTS = {"train": "train", "val": "train", "query": "test", "gallery": "test"}
CAMERAS = range(1, 16)
_HINT = "Expected the layout in docs/datasets.md#msmt17; run `crossreid check msmt17 ROOT`."


@register_dataset(
    "msmt17",
    title="MSMT17",
    protocol="msmt17",
    official={
        "train identities": 1_041,
        "test identities": 3_060,
        "train images": 32_621,
        "query images": 11_659,
        "gallery images": 82_161,
    },
    licence="on request from the authors at Peking University, by a signed agreement",
    citation=Citation(
        "Wei et al.", "Person Transfer GAN to Bridge Domain Gap for Person Re-identification", "CVPR", 2018
    ),
    page="docs/datasets.md#msmt17",
    layout=("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"),
)
def parse(root: Path, *, train_on: str = "train+val") -> Split:
    """Read the official split: 1,041 training and 3,060 test identities; 11,659 query and 82,161 gallery images.

    The lists `list_train` and `list_val` have images of the same identities, so the second one cannot validate what the
    first one trains; published figures train on both.

    Args:
        train_on: `train+val`, as for published figures, or `train`, only the images of `list_train.txt`.

    Raises:
        DataError: a list or a folder is missing, a line or a name does not follow the layout, or the option is unknown.
    """
    if train_on not in ("train", "train+val"):
        raise DataError(f"MSMT17: train_on is {train_on!r}, expected 'train' or 'train+val'.")
    root = Path(root)
    found = {name: images(root, name) for name in LISTS}
    train = found["train"] + (found["val"] if train_on == "train+val" else [])
    return Split(
        name="msmt17",
        root=root,
        protocol="msmt17",
        train=tuple(in_order(train)),
        query=tuple(in_order(found["query"])),
        gallery=tuple(in_order(found["gallery"])),
    )


def images(root: Path, name: str) -> list[Record]:
    """Return the records of `list_NAME.txt`: lines `0000/0000_000_01_0303morning_0015_0.jpg 0`, below `train/` or
    `test/`.
    """
    path = root / f"list_{name}.txt"
    if not path.is_file():
        raise DataError(f"MSMT17: `{path.name}` not found under {root}. {_HINT}")
    part = LISTS[name]
    folder = next((root / one for one in FOLDERS[part] if (root / one).is_dir()), None)
    if folder is None:
        raise DataError(f"MSMT17: none of the folders {', '.join(FOLDERS[part])} found under {root}. {_HINT}")
    records = []
    for number, line in enumerate(list_text(path, "MSMT17").splitlines(), start=1):
        if not line.strip():
            continue
        image, _, label = line.strip().rpartition(" ")
        camera = _camera(image)
        if not label.isdecimal() or camera is None:
            raise DataError(
                f"MSMT17: {path}, line {number}: expected `0000/0000_000_01_0303morning_0015_0.jpg 0`, identity, number, camera "
                f"(1 to 15) and time, and a label; found {line!r}."
            )
        # Training and test identities are both numbered from 0: the part is in the name, else they would be confused.
        records.append(Record(folder / image, label if part == "train" else f"test-{label}", camera))
    if not records:
        raise DataError(f"MSMT17: {path} lists no image. {_HINT}")
    return records


def _camera(image: str) -> int | None:
    parts = Path(image).name.split("_")
    if len(parts) < 4 or not parts[2].isdecimal() or int(parts[2]) not in CAMERAS:
        return None
    return int(parts[2])
