"""The end of a job: joining its chunks into the three files, and recognising a finished job."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.addresses import Address, Place, write_whole
from crossreid.data.object_storage import ahead
from crossreid.data.records import DataError, Record
from crossreid.evaluation.calibration import Calibration
from crossreid.evaluation.calibration_files import short_text
from crossreid.evaluation.embedding_files import (
    BAD_IMAGES,
    EMBEDDINGS,
    FORMAT,
    RECORDS,
    as_metadata,
    check_folder,
    table_of,
    write_rows,
    write_table,
)
from crossreid.inference.bulk.chunks import Chunk, digest_of_states, read_chunk, states_of
from crossreid.inference.bulk.folder import BAD_COLUMNS, PARTS, chunk_path, clear, is_our_list
from crossreid.inference.bulk.plan import PINNED, Plan, refuse_another
from crossreid.inference.image_files import readable
from crossreid.runs.named_network import lasting


def is_finished(out: Place, pins: Mapping[str, Any], records: Sequence[Record]) -> bool:
    """Return whether this job is done; if so, remove what a kill between its last two steps left behind.

    Raises:
        DataError: the files are damaged, of another job, or of images that have changed since.
    """
    if not (out / EMBEDDINGS).exists():
        return False
    about = check_folder(out)
    way_out = f"move {EMBEDDINGS} and {RECORDS} away"
    refuse_another(out, {key: about.get(key) for key in PINNED}, as_metadata(pins), way_out)
    states = states_of(records)
    if about.get("files") not in (None, digest_of_states([states])):  # earlier versions did not record it
        one = ""
        if isinstance(out, Path):
            files = np.array([isinstance(record.path, Path) for record in records])
            late = files & (states[:, 1] > (out / EMBEDDINGS).stat().st_mtime_ns)
            one = f", {records[int(late.argmax())].path} for example" if late.any() else ""
        raise DataError(
            f"{out}: images have changed since they were embedded{one}: their sizes or times differ. To embed them as "
            f"they are now, {way_out} and run the same command again, or choose another --out."
        )
    clear(out / PARTS)
    return True


def join(
    records: Sequence[Record], out: Place, plan: Plan, *, run: Path, on_bad_image: str,
    left_out: Sequence[tuple[str, str]], trained: str = "", calibration: Calibration | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Write the three files of the finished job, the embeddings last, and remove the chunks.

    Args:
        trained: how far the model was trained, if training is unfinished; kept with the embeddings.
        calibration: of the model, if it has one; likewise.

    Returns:
        The number of rows and the number of images left out, including those of `left_out`.

    Raises:
        DataError: a chunk is missing or damaged, all images are unreadable, or one is although `on_bad_image` is stop.
    """
    parts = out / PARTS
    numbers = range(len(plan.chunks()))
    existing = partial(_existing, parts, plan=plan)
    chunks = list(ahead(existing, numbers)) if isinstance(parts, Address) else [existing(number) for number in numbers]
    kept = [position for chunk in chunks for position in chunk.positions.tolist()]
    bad = [image for chunk in chunks for image in chunk.bad]
    if bad and on_bad_image == "stop":
        raise DataError(f"{bad[0][1]} ({len(bad)} such images.) Use --on-bad-image skip to leave them out.")
    if not kept:
        raise DataError(f"none of the {len(records)} images can be read ({bad[0][1]}).")
    listed = [*left_out, *((records[position].path.as_posix(), reason) for position, reason in bad)]
    _write_bad_images(out / BAD_IMAGES, listed)
    digest = write_table(table_of([records[position] for position in kept]), out / RECORDS)
    facts = asdict(plan) | {
        "format": FORMAT, "run": readable(lasting(run)), "records": digest, "rows": len(kept), "bad": len(listed),
        "files": digest_of_states(chunk.states for chunk in chunks), **({"trained": trained} if trained else {}),
        **({"calibration": short_text(calibration)} if calibration else {}),
    }  # fmt: skip
    # One chunk at a time, or a few from a store: all together may not fit in memory.
    embeddings = partial(_rows, parts, plan=plan)
    rows = ahead(embeddings, numbers, threads=4) if isinstance(parts, Address) else map(embeddings, numbers)
    write_rows(out / EMBEDDINGS, rows, (len(kept), plan.dimension), as_metadata(facts))
    clear(parts)
    return len(kept), len(listed)


def _existing(parts: Place, number: int, plan: Plan, *, rows: bool = False) -> Chunk:
    found = read_chunk(parts, number, plan, rows=rows)
    if found is None:
        raise DataError(
            f"{chunk_path(parts, number, plan.digest)} is missing or damaged. Run the same command to embed it again."
        )
    return found


def _rows(parts: Place, number: int, plan: Plan) -> np.ndarray:
    embeddings = _existing(parts, number, plan, rows=True).embeddings
    assert embeddings is not None
    return embeddings


def _write_bad_images(path: Place, listed: Sequence[tuple[str, str]]) -> None:
    if listed:
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(BAD_COLUMNS)
        lines.writerows(listed)
        write_whole(path, [text.getvalue().encode()])
    elif path.is_file() and is_our_list(path):
        path.unlink()  # from an earlier job with bad images
