"""Embeddings on disk: `embeddings.safetensors` and, row by row, `records.parquet`.

The metadata of the tensor `embeddings` `(N, D)` float32 say what made it and give the digest of the records beside it,
so that rows of two different jobs are never combined.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from safetensors import SafetensorError

from crossreid.data.addresses import Place, place_of, write_whole
from crossreid.data.records import DataError, Modality, Record
from crossreid.errors import CrossreidError
from crossreid.evaluation.stored_tensors import read_stored

EMBEDDINGS, RECORDS, BAD_IMAGES = "embeddings.safetensors", "records.parquet", "bad_images.csv"
AGAIN = f"Move {EMBEDDINGS} and {RECORDS} away and embed again."
FORMAT = "crossreid-embeddings-1"
_MODALITIES = {modality.name.lower(): int(modality) for modality in Modality}
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("camera", pa.int64(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("tracklet", pa.string()),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("box", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, eq=False, slots=True)
class Embeddings:
    """N embeddings and what is known about their images.

    embeddings `(N, D)` float32; paths `(N,)` str, as in the source; identities and tracklets `(N,)` object, None if
    unknown; cameras `(N,)` int64, 0 if unknown; modalities `(N,)` int64, values of `Modality`; times `(N,)` float64,
    seconds since 1970 UTC, NaN if unknown; frames `(N,)` int64, -1 if unknown; boxes `(N,)` object, (left, top, right,
    bottom) in pixels if the image is a crop, None if it is the whole picture. `fingerprint` is the model's, `about` the
    file's metadata.
    """

    embeddings: np.ndarray
    paths: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    times: np.ndarray
    tracklets: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray
    fingerprint: str
    about: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.embeddings)


def read_embeddings(folder: Place | str) -> Embeddings:
    """Read and verify what `crossreid embed` wrote into a folder or below an address.

    Raises:
        DataError: a file is missing or damaged, or the two were not written together; it is named.
    """
    folder = place_of(folder)
    about = read_about(folder)
    content = _records_content(folder, about)
    try:
        rows = read_stored(folder / EMBEDDINGS, ["embeddings"]).tensors["embeddings"]
        table = parquet.read_table(pa.BufferReader(content))
    except (SafetensorError, pa.ArrowException) as error:
        raise DataError(f"{folder}: {error}. Expected {EMBEDDINGS} and {RECORDS}. {AGAIN}") from error
    if not about.get("model"):
        raise DataError(f"{folder / EMBEDDINGS}: expected the fingerprint of the model in its metadata. {AGAIN}")
    if table.schema != SCHEMA:
        pairs = zip_longest(SCHEMA, table.schema, fillvalue="no more columns")
        expected, found = next(pair for pair in pairs if pair[0] != pair[1])
        raise DataError(f"{folder / RECORDS}: expected {expected}, found {found}. {AGAIN}")
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != table.num_rows:
        raise DataError(
            f"{folder}: expected float32 rows, one per record ({table.num_rows}); found {rows.dtype} {rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise DataError(f"{folder / EMBEDDINGS} holds values that are not finite. {AGAIN}")
    columns = {name: table[name].to_pylist() for name in ("path", "identity", "modality", "tracklet", "time", "box")}
    for row, (modality, box) in enumerate(zip(columns["modality"], columns["box"], strict=True)):
        if modality not in _MODALITIES or (box is not None and (len(box) != 4 or None in box)):
            raise DataError(
                f"{folder / RECORDS}, row {row}: expected a modality ({', '.join(_MODALITIES)}) and a box of four numbers or "
                f"none, found {modality!r} and {box}. {AGAIN}"
            )
    times = [np.nan if time is None else time.timestamp() for time in columns["time"]]
    return Embeddings(
        embeddings=rows,
        paths=np.array(columns["path"], dtype=np.str_),
        identities=np.array(columns["identity"], dtype=object),
        cameras=table["camera"].to_numpy(),
        modalities=np.array([_MODALITIES[name] for name in columns["modality"]], dtype=np.int64),
        times=np.array(times, dtype=np.float64),
        tracklets=np.array(columns["tracklet"], dtype=object),
        frames=table["frame"].to_numpy(),
        boxes=np.fromiter((None if box is None else tuple(box) for box in columns["box"]), object, len(rows)),
        fingerprint=about["model"],
        about=about,
    )


def check_folder(folder: Place) -> dict[str, str]:
    """Return the metadata of a folder's embeddings, after checking that both files exist and belong together; reads no
    rows.

    Raises:
        DataError: a file is missing or damaged, or the two were not written together; it is named.
    """
    about = read_about(folder)
    content = _records_content(folder, about)
    try:
        shape = read_stored(folder / EMBEDDINGS).shapes["embeddings"]
        counts = {int(about["rows"]), shape[0], parquet.read_metadata(pa.BufferReader(content)).num_rows}
        if len(shape) != 2 or len(counts) != 1 or int(about["bad"]) < 0:
            raise CrossreidError(f"found rows {shape}, and {counts} of them")
    except (SafetensorError, pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise DataError(f"{folder}: {EMBEDDINGS} was changed after writing ({error}). {AGAIN}") from error
    return about


def _records_content(folder: Place, about: Mapping[str, str]) -> bytes:
    """Return the bytes of records.parquet, checked against the embeddings' metadata."""
    path = folder / RECORDS
    if not path.is_file():
        raise DataError(f"{path} not found. Without it, the rows of {EMBEDDINGS} cannot be identified. {AGAIN}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != about.get("records"):
        raise DataError(f"{folder}: {RECORDS} is not the one written with {EMBEDDINGS}. {AGAIN}")
    return content


def read_about(folder: Place) -> dict[str, str]:
    """Return the metadata of a folder's embeddings.

    Raises:
        DataError: they are missing, damaged, or written by another program.
    """
    path = folder / EMBEDDINGS
    if not path.is_file():
        raise DataError(f"{path} not found. Expected a folder that `crossreid embed` wrote completely.")
    try:
        about = read_stored(path).about
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}). {AGAIN}") from error
    if about.get("format") != FORMAT:
        raise DataError(
            f"{path} was not written by `crossreid embed` (format {about.get('format')!r}). Name another folder, or move it away."
        )
    return about


def table_of(records: Sequence[Record]) -> pa.Table:
    """Return the rows of records.parquet."""
    columns = {
        "path": [record.path.as_posix() for record in records],
        "identity": [record.identity or None for record in records],
        "camera": [record.camera for record in records],
        "modality": [record.modality.name.lower() for record in records],
        "time": [None if record.time is None else datetime.fromtimestamp(record.time, UTC) for record in records],
        "tracklet": [record.tracklet for record in records],
        "frame": [record.frame for record in records],
        "box": [record.box for record in records],
    }
    return pa.table(columns, schema=SCHEMA)


def write_table(table: pa.Table, path: Place) -> str:
    """Write a Parquet file, whole or not at all, and return the digest of its bytes."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    write_whole(path, [content])
    return hashlib.sha256(content).hexdigest()


def write_rows(path: Place, parts: Iterable[np.ndarray], shape: tuple[int, int], about: Mapping[str, str]) -> None:
    """Write a safetensors file of one tensor, `embeddings` `(N, D)` float32, in parts, so it need not fit in memory."""
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 4 * shape[0] * shape[1]]}
    header = json.dumps({"__metadata__": dict(about), "embeddings": entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    count = 0

    def pieces() -> Iterable[bytes]:
        nonlocal count
        yield len(header).to_bytes(8, "little") + header
        for part in parts:
            count += len(part)
            yield np.ascontiguousarray(part, dtype="<f4").tobytes()
        if count != shape[0]:
            raise DataError(f"{path}: expected {shape[0]} rows, found {count}.")

    write_whole(path, pieces())


def as_metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts as safetensors metadata: text, or JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in facts.items()}
