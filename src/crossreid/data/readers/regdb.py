"""RegDB (Nguyen et al., Sensors 2017): 412 people with 10 visible and 10 thermal images each; 10 trials with half of
them each.
"""

from __future__ import annotations

from pathlib import Path

from crossreid.data.catalogue import Citation, register_dataset
from crossreid.data.readers.holdout import hold_out
from crossreid.data.readers.lists import list_text
from crossreid.data.records import DataError, Modality, Record, Split, in_order

TRIALS = range(1, 11)
KINDS = {"visible": (1, Modality.VISIBLE), "thermal": (2, Modality.INFRARED)}
_HINT = "Expected the layout in docs/datasets.md#regdb; run `crossreid check regdb ROOT`."


@register_dataset(
    "regdb",
    title="RegDB",
    protocol="regdb",
    official={
        "train identities": 206,
        "test identities": 206,
        "train visible images": 2060,
        "train infrared images": 2060,
        "test visible images": 2060,
        "test infrared images": 2060,
    },
    licence="for research, by agreement with the Dongguk Image and Signal Processing lab",
    citation=Citation("Nguyen et al.", "", "Sensors", 2017),
    page="docs/datasets.md#regdb",
    layout=("Visible", "Thermal", "idx"),
    variants=tuple({"trial": trial} for trial in TRIALS),
)
def parse(root: Path, *, trial: int = 1, validation: int = 0) -> Split:
    """Read one of the 10 trials: half of the identities for training, half for testing.

    The lists' labels restart at 0 in each half; here, an identity is its folder's name, the same in every trial.

    Args:
        trial: 1 to 10. Published figures train one model per trial and average.
        validation: training identities to hold out, drawn by the trial's number.

    Raises:
        DataError: no such trial, a missing list, or a line that is not `path label`.
    """
    if trial not in TRIALS:
        raise DataError(f"RegDB: trial is {trial!r}, expected a number from 1 to 10.")
    root = Path(root)
    halves = {
        half: [record for kind in KINDS for record in read_list(root, f"{half}_{kind}_{trial}.txt", kind)]
        for half in ("train", "test")
    }
    train, held_out = hold_out(halves["train"], validation, seed=trial)
    return Split(
        name="regdb",
        root=root,
        protocol="regdb",
        train=tuple(in_order(train)),
        validation=tuple(in_order(held_out)),
        query=tuple(in_order(r for r in halves["test"] if r.modality == Modality.INFRARED)),
        gallery=tuple(in_order(r for r in halves["test"] if r.modality == Modality.VISIBLE)),
        trial=trial,
    )


def read_list(root: Path, name: str, kind: str) -> list[Record]:
    """Return the records of one list in `idx/`; lines end in CRLF or LF."""
    path = root / "idx" / name
    if not path.is_file():
        raise DataError(f"RegDB: `idx/{name}` not found under {root}. {_HINT}")
    camera, modality = KINDS[kind]
    records = []
    for number, line in enumerate(list_text(path, "RegDB").splitlines(), start=1):
        if not line.strip():
            continue
        image, _, label = line.strip().rpartition(" ")
        parts = Path(image).parts
        if not label.isdecimal() or len(parts) < 2:
            raise DataError(f"RegDB: {path}, line {number}: expected `Folder/identity/image label`, found {line!r}.")
        records.append(Record(root / image, parts[-2], camera, modality))
    if not records:
        raise DataError(f"RegDB: {path} lists no image. {_HINT}")
    return records
