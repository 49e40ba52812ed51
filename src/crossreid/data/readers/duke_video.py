"""DukeMTMC-VideoReID (Wu et al., CVPR 2018): tracklets in folders; layout in docs/datasets.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.readers.holdout import hold_out
from crossreid.data.records import DataError, Record, Split, in_order

# Both layouts in circulation: 0001C6F0099X30823.jpg, and with underscores 0001_C6_F0099_X30823.jpg.
_NAME = re.compile(r"(\d+)_?C(\d+)_?F(\d+)(?:_?X\d+)?\.(?:jpg|jpeg|png)", re.IGNORECASE)
_IMAGES = {".jpg", ".jpeg", ".png"}
TRACKLETS = ("folders", "camera")
_HINT = "Expected the layout in docs/datasets.md#duke-video; run `crossreid check duke-video ROOT`."


@register_dataset(
    "duke-video",
    title="DukeMTMC-VideoReID",
    protocol="duke-video",
    official={
        "train identities": 702,
        "train tracklets": 2_196,
        "query tracklets": 702,
        "gallery tracklets": 2_636,
    },
    licence="withdrawn by the owners of the recordings; for copies that are held lawfully",
    citation=Citation("Wu et al.", "Exploit the Unknown Gradually", "CVPR", 2018),
    page="docs/datasets.md#duke-video",
)
def parse(root: Path, *, validation: int = 0, tracklets: str = "folders") -> Split:
    """Read the official split, by folders: 702 training identities, 702 query identities, a gallery of these and 408
    others.

    Args:
        validation: training identities to hold out, always the same ones for a given number.
        tracklets: `folders`, one tracklet each; `camera`, all images of an identity and camera as one, as in the
            release of views knowledge distillation (Porrello et al., ECCV 2020).

    Raises:
        DataError: an unknown value of `tracklets`, a folder is missing, a tracklet is empty, or a name does not follow
            the layout.
    """
    root = Path(root)
    if tracklets not in TRACKLETS:
        raise DataError(f"Duke-Video-ReID: tracklets is {tracklets!r}; expected one of: {', '.join(TRACKLETS)}.")
    found = {part: tracks(root, part) for part in ("train", "query", "gallery")}
    if tracklets == "camera":
        found = {part: _one_a_camera(records, part) for part, records in found.items()}
    train, held_out = hold_out(found["train"], validation, seed=0)
    return Split(
        name="duke-video",
        root=root,
        protocol="duke-video",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(found["query"])),
        gallery=tuple(in_order(found["gallery"])),
    )


def _one_a_camera(records: Iterable[Record], part: str) -> list[Record]:
    """Return the records in one tracklet per identity and camera, folder by folder, with frames renumbered from 0."""
    frames: dict[tuple[str, int], int] = {}
    joined = []
    for record in records:  # in the order of `tracks`: by folder, and by name within it
        key = (record.identity, record.camera)
        frames[key] = frames.get(key, -1) + 1
        joined.append(replace(record, tracklet=part, frame=frames[key]))
    return joined


def tracks(root: Path, part: str) -> list[Record]:
    """Return the frames of all tracklets of `train`, `query` or `gallery`: `PART/IDENTITY/TRACKLET/NAME.jpg`."""
    folder = root / part
    if not folder.is_dir():
        raise DataError(f"Duke-Video-ReID: `{part}/` not found under {root}. {_HINT}")
    records = []
    for tracklet in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        images = sorted(path for path in tracklet.iterdir() if path.suffix.lower() in _IMAGES)
        if not images:
            raise DataError(f"Duke-Video-ReID: tracklet {tracklet} is empty. Copy it again, or remove its folder.")
        cameras = set()
        for path in images:
            name = _NAME.fullmatch(path.name)
            if name is None:
                raise DataError(
                    f"Duke-Video-ReID: {path}: expected a name like 0001C6F0099X30823.jpg or 0001_C6_F0099_X30823.jpg. {_HINT}"
                )
            identity, camera, frame = tracklet.parent.name, int(name[2]), int(name[3])
            if not identity.isdecimal() or int(name[1]) != int(identity):
                raise DataError(f"Duke-Video-ReID: {path} is in the folder of identity {identity}. {_HINT}")
            cameras.add(camera)
            records.append(Record(path, identity, camera, tracklet=f"{part}/{tracklet.name}", frame=frame))
        if len(cameras) > 1:
            raise DataError(
                f"Duke-Video-ReID: tracklet {tracklet} has images of cameras {sorted(cameras)}; expected one."
            )
    if not records:
        raise DataError(f"Duke-Video-ReID: no tracklet under {folder}. {_HINT}")
    return records
