"""Market-1501 (Zheng et al., ICCV 2015): people in front of a supermarket, six cameras; layout in docs/datasets.md."""

from __future__ import annotations

import re
from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.image_names import JPEG, images_in
from crossreid.data.readers.holdout import hold_out
from crossreid.data.records import DataError, Record, Split, in_order

JUNK, DISTRACTOR = "-1", "0"
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
# Identity, camera, sequence, frame and box: 0002_c1s1_000451_03.jpg; junk is -1_c1s1_000401_03.jpg.
_NAME = re.compile(r"(-1|\d+)_c(\d+)s(\d+)_(\d+)_\d+\.jpe?g", re.IGNORECASE)
_HINT = "Expected the layout in docs/datasets.md#market-1501; run `crossreid check market-1501 ROOT`."


@register_dataset(
    "market-1501",
    title="Market-1501",
    protocol="market-1501",
    official={
        "train identities": 751,
        "train images": 12_936,
        "query images": 3_368,
        "gallery images": 19_732,
    },
    licence="from the authors' project page, under their terms",
    citation=Citation("Zheng et al.", "Scalable Person Re-identification: A Benchmark", "ICCV", 2015),
    page="docs/datasets.md#market-1501",
    layout=("bounding_box_train", "bounding_box_test", "query"),
)
def parse(root: Path, *, validation: int = 0) -> Split:
    """Read the official split: 751 training and 750 test identities; 3,368 query and 19,732 gallery images.

    Identity -1 is junk, which the protocol leaves out of every ranking, and identity 0 are distractors: both occur only
    in the gallery's folder and never as queries. An identity is the number in an image's name, without leading zeros.

    Args:
        validation: training identities to hold out, always the same ones for a given number.

    Raises:
        DataError: a folder is missing or empty, a name does not follow the layout, or junk or a distractor is in
            training or among the queries.
    """
    root = Path(root)
    found = {part: images(root, folder) for part, folder in FOLDERS.items()}
    for part in ("train", "query"):
        for record in found[part]:
            if record.identity in (JUNK, DISTRACTOR):
                raise DataError(f"Market-1501: {record.path}: junk and distractors may only be in the gallery. {_HINT}")
    train, held_out = hold_out(found["train"], validation, seed=0)
    return Split(
        name="market-1501",
        root=root,
        protocol="market-1501",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(found["query"])),
        gallery=tuple(in_order(found["gallery"])),
    )


def images(root: Path, folder: str) -> list[Record]:
    """Return the records of the images in one folder of the layout."""
    if not (root / folder).is_dir():
        raise DataError(f"Market-1501: `{folder}/` not found under {root}. {_HINT}")
    records = [record_of(path) for path in images_in(root / folder, JPEG)]
    if not records:
        raise DataError(f"Market-1501: no image under {root / folder}. {_HINT}")
    return records


def record_of(path: Path) -> Record:
    """Parse an image's name: identity, camera, and the frame in its camera's sequence."""
    parts = _NAME.fullmatch(path.name)
    if parts is None:
        raise DataError(f"Market-1501: {path}: expected a name like 0002_c1s1_000451_03.jpg. {_HINT}")
    return Record(path, str(int(parts[1])), int(parts[2]), frame=int(parts[4]))
