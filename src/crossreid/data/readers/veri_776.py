"""VeRi-776 (Liu et al., ECCV 2016): vehicles seen by 20 road cameras; layout in docs/datasets.md."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.image_names import JPEG, images_in
from crossreid.data.readers.holdout import hold_out
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Record, Split, in_order

# In the order of the official numbers, which start at 1.
COLOURS = ("yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black")
TYPES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")

_NAME = re.compile(r"(\d+)_c(\d+)_(\d+)_\d+\.jpe?g", re.IGNORECASE)
_HINT = "Expected the layout in docs/datasets.md#veri-776; run `crossreid check veri-776 ROOT`."


@register_dataset(
    "veri-776",
    title="VeRi-776",
    protocol="veri-776",
    official={
        "train identities": 576,
        "test identities": 200,
        "train images": 37_778,
        "query images": 1_678,
        "gallery images": 11_579,
    },
    licence="on request from the authors at Beijing University of Posts and Telecommunications, under their terms",
    citation=Citation(
        "Liu et al.",
        "A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban Surveillance",
        "ECCV",
        2016,
    ),
    page="docs/datasets.md#veri-776",
    layout=("image_train", "image_query", "image_test"),
)
def parse(root: Path, *, validation: int = 0) -> Split:
    """Read the official split: 576 training and 200 test vehicles, with one query image per camera.

    The queries are also images of the gallery, as in the official lists; they are in their own folder. A tracklet is
    all images of one vehicle by one camera. Training images have their colour and type if there is `train_label.xml`.

    Args:
        validation: training identities to hold out, always the same ones for a given number.

    Raises:
        DataError: neither list nor folder exists, a line or a name does not follow the layout, or a damaged
            `train_label.xml`.
    """
    root = Path(root)
    said = attributes(root)
    train, held_out = hold_out(images(root, "train", said), validation, seed=0)
    return Split(
        name="veri-776",
        root=root,
        protocol="veri-776",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(images(root, "query"))),
        gallery=tuple(in_order(images(root, "test"))),
    )


def images(root: Path, part: str, said: dict[str, tuple[tuple[str, str], ...]] | None = None) -> list[Record]:
    """Return the records of `name_PART.txt`, or if missing, of `image_PART/`; `said` has attributes by name."""
    listed, folder = root / f"name_{part}.txt", root / f"image_{part}"
    if listed.is_file():
        lines = list_text(listed, "VeRi-776").splitlines()
        named = [(f"{listed}, line {n}", line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
    elif folder.is_dir():
        named = [(str(folder), path.name) for path in images_in(folder, JPEG)]
    else:
        raise DataError(f"VeRi-776: neither `{listed.name}` nor `{folder.name}/` found under {root}. {_HINT}")
    records = []
    for where, name in named:
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise DataError(f"VeRi-776: {where}: expected a name IDID_cCCC_FFFFFFFF_N.jpg, found {name!r}.")
        identity, camera, frame = parts[1], int(parts[2]), int(parts[3])
        known = (said or {}).get(name, ())
        tracklet = f"{identity}_{camera}"
        records.append(Record(folder / name, identity, camera, tracklet=tracklet, frame=frame, attributes=known))
    if not records:
        raise DataError(f"VeRi-776: {listed if listed.is_file() else folder} holds no image. {_HINT}")
    return records


def attributes(root: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return colour and type of each training image, by name, from `train_label.xml`; empty if it does not exist.

    A number that is not in the official tables is ignored.

    Raises:
        DataError: the file cannot be decoded or parsed, or an item lacks its name or a number; it is named.
    """
    path = root / "train_label.xml"
    if not path.is_file():
        return {}
    try:
        # Declared as gb2312, which the XML parser does not support: it gets text without the declaration.
        text = path.read_bytes().decode("gb18030").lstrip("\ufeff")
        items = ET.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, count=1, flags=re.DOTALL)).iter("Item")
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise DataError(f"VeRi-776: {path} cannot be read: {error}. Copy it again, or remove it.") from error
    said = {}
    for item in items:
        try:
            name, numbers = item.attrib["imageName"], (int(item.attrib["colorID"]), int(item.attrib["typeID"]))
        except (KeyError, ValueError) as error:
            raise DataError(
                f"VeRi-776: {path}: expected items with imageName, colorID and typeID, found {dict(item.attrib)}."
            ) from error
        tables = (("colour", COLOURS), ("type", TYPES))
        said[name] = tuple(
            (what, table[n - 1]) for (what, table), n in zip(tables, numbers, strict=True) if 1 <= n <= len(table)
        )
    return said
