"""The plan of a job: the list of images, the model, and everything else that the rows depend on, pinned in plan.json.

A chunk counts as done only under the plan it was embedded with, so a job resumes only if all pinned values are the
same; the error names the one that differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import crossreid
from crossreid.data.addresses import Address, Place, write_whole
from crossreid.data.object_storage import NotThere
from crossreid.data.records import DataError, Record
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding_files import RECORDS, table_of, write_table
from crossreid.inference.bulk.folder import PLAN, remove_chunks
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.inference.faster_precision import faster_precision

PINNED = ("model", "runtime", "precision", "batch", "chunk", "list")
_KINDS = {
    "model": str, "runtime": str, "precision": str, "batch": int, "chunk": int, "list": str, "images": int, "dimension": int,
    "method": str, "preprocessing": dict, "flip": bool, "version": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What plan.json holds: `model` is the fingerprint, `list` the digest of the list of images, `dimension` D."""

    model: str
    runtime: str
    batch: int
    chunk: int
    list: str
    precision: Precision
    images: int
    dimension: int
    method: str
    preprocessing: dict[str, Any]
    flip: bool
    version: str

    def chunks(self) -> Sequence[range]:
        """Return the positions of each chunk's images among the records."""
        return [range(first, min(first + self.chunk, self.images)) for first in range(0, self.images, self.chunk)]

    @property
    def digest(self) -> str:
        """Return the hexadecimal SHA-256 of the pinned values, which tells the chunks of different plans apart."""
        pinned = {key: getattr(self, key) for key in PINNED}
        return hashlib.sha256(json.dumps(pinned, sort_keys=True).encode()).hexdigest()


def pins_of(
    model: EmbeddingModel, records: Sequence[Record], *, precision: str, batch: int, chunk: int
) -> dict[str, str | int]:
    """Return the values that a requested job pins. Precision `auto` is not pinned: a resumed job keeps its own."""
    pins: dict[str, str | int] = {
        "model": model.fingerprint, "runtime": model.runtime, "batch": batch, "chunk": chunk, "list": digest_of(records)
    }  # fmt: skip
    return pins if precision == "auto" else pins | {"precision": precision}


def digest_of(records: Sequence[Record]) -> str:
    """Return the SHA-256 of the list of images: of each row of records.parquet, and of how its image is made."""
    digest = hashlib.sha256()
    for record in records:
        facts = (record.path.as_posix(), record.identity, record.camera, int(record.modality), record.tracklet,
                 record.pseudo_infrared, record.frame, record.box, record.time)  # fmt: skip
        digest.update(repr(facts if record.levels is None else (*facts, record.levels)).encode())
    return digest.hexdigest()


def make_or_keep_plan(
    parts: Place,
    model: EmbeddingModel,
    records: Sequence[Record],
    pins: Mapping[str, Any],
    say: Callable[[str], object],
) -> None:
    """Read the existing plan and refuse a different one, or write a new one. Only the first process calls this."""
    if (parts / PLAN).is_file():
        refuse_another(parts, asdict(read_plan(parts)), pins, "delete that folder", records)
        return
    precision = pins.get("precision")
    if precision is None:
        precision, why = faster_precision(model, records, batch=pins["batch"])
        say(f"precision: {precision} ({why})")
    if not isinstance(parts, Address):  # in a store, chunks of another job have other names
        remove_chunks(parts)  # left by a job without a plan
    write_table(table_of(records), parts / RECORDS)
    plan = Plan(
        model=pins["model"], runtime=pins["runtime"], batch=pins["batch"], chunk=pins["chunk"], list=pins["list"],
        precision=precision, images=len(records), dimension=model.dimension, method=model.method,
        preprocessing=model.preprocessing.to_json(), flip=model.flip, version=crossreid.__version__,
    )  # fmt: skip
    content = [json.dumps(asdict(plan), indent=2).encode()]
    if isinstance(parts, Address):
        try:
            (parts / PLAN).write_bytes(content, new=True)
        except FileExistsError:  # written by another job that started at the same time
            refuse_another(parts, asdict(read_plan(parts)), pins, "delete what is below it", records)
    else:
        write_whole(parts / PLAN, content)


def read_plan(parts: Place) -> Plan:
    """Return the plan of the existing job.

    Raises:
        DataError: the plan is damaged.
    """
    path = parts / PLAN
    try:
        plan = json.loads(path.read_bytes().decode())
        if not isinstance(plan, dict):
            raise CrossreidError("it is no object")
        if wrong := [key for key, kind in _KINDS.items() if type(plan.get(key)) is not kind]:
            raise CrossreidError(f"{wrong[0]} is {_short(plan.get(wrong[0], 'missing'))}")
        if not 1 <= plan["batch"] <= plan["chunk"] or plan["precision"] not in get_args(Precision):
            raise CrossreidError(f"batch {plan['batch']}, chunk {plan['chunk']}, precision {_short(plan['precision'])}")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}). Delete {parts} and embed again.") from error
    return Plan(**{key: plan[key] for key in _KINDS})


def refuse_another(
    where: Place, there: Mapping[str, Any], pins: Mapping[str, Any], way_out: str, records: Sequence[Record] = ()
) -> None:
    """Raise `DataError` if `pins` differ from those pinned `there`, naming the difference and the first such record."""
    differ = [key for key in PINNED if key in pins and there.get(key) != pins[key]]
    if not differ:
        return
    reasons = [
        _first_difference(where, records)
        if key == "list"
        else f"{key} was {_short(there.get(key))}, is {_short(pins[key])}"
        for key in differ
    ]
    raise DataError(f"{where} belongs to another job: {'; '.join(reasons)}. Choose another --out, or {way_out}.")


def _first_difference(parts: Place, records: Sequence[Record]) -> str:
    """Describe how the list of images differs from the one written with the plan."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    unknown = "the list of images differs"
    if not records:
        return unknown
    try:
        before = parquet.read_table(pa.BufferReader((parts / RECORDS).read_bytes())).to_pylist()
    except (OSError, NotThere, pa.ArrowException):
        return unknown
    now = table_of(records).to_pylist()
    for position, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            key = next(key for key in new if old.get(key) != new[key])
            return f"image {position} ({old.get('path')}): {key} was {old.get(key)!r}, is {new[key]!r}"
    if len(before) == len(now):
        return unknown
    return f"the list had {len(before)} images, has {len(now)}"


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 24 else str(value)
