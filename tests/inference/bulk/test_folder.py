"""What was not written by this program is neither replaced nor removed."""

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import save_file

from crossreid.data.records import DataError
from crossreid.files import temporary_name
from crossreid.inference.bulk.folder import FILES, PARTS, PLAN
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.embedding_files import RECORDS
from embedding_jobs import JOB, contents, stopped, tree

FOREIGN = {
    "a folder of parts": ("crossreid-parts/cast.txt", r"crossreid-parts/cast\.txt was not written by this program"),
    "a chunk of another name": (f"{PARTS}/chunk-old.safetensors", r"chunk-old\.safetensors was not written by this program"),
    "a folder like a chunk": (f"{PARTS}/chunk-00000009.safetensors/x", r"chunk-00000009.safetensors was not written by this program"),
    "a file": (PARTS, "crossreid-parts exists and is not a folder"),
    "records": ("records.parquet", "records.parquet is not a table written by `crossreid embed`"),
    "a folder of records": ("records.parquet/part-0.parquet", "records.parquet is a folder"),
    "a list": ("bad_images.csv", "bad_images.csv is not a list written by `crossreid embed`"),
    "embeddings": ("embeddings.safetensors", r"embeddings.safetensors (is damaged|was not written)"),
    "other embeddings": ("embeddings.safetensors", "embeddings.safetensors was not written by `crossreid embed`"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_somebody_else_put_there_is_refused_and_left_as_it_is(kind, tmp_path, model, records):
    name, told = FOREIGN[kind]
    out = tmp_path / "out"
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    (out / "parts").mkdir()
    (out / "parts" / "picture.jpg").write_bytes(records[0].path.read_bytes())
    if kind == "records":
        parquet.write_table(pa.table({"path": ["mine.jpg"]}), path)
    if kind == "other embeddings":
        save_file({"embeddings": np.ones((2, 3), np.float32)}, path)
    before = tree(out)
    with pytest.raises(DataError, match=told) as error:
        embed_records(model, records[:3], out, **JOB)
    assert re.search("away", str(error.value)), "and a way out"
    assert tree(out) == before
    top = out / Path(name).parts[0]
    top.unlink() if top.is_file() else shutil.rmtree(top)
    assert embed_records(model, records[:3], out, **JOB).rows == 3
    assert (out / "parts" / "picture.jpg").is_file(), "a folder of images may be called so"


def test_what_killed_processes_left_half_written_is_removed_and_nothing_else(tmp_path, model, records, whole):
    """Temporary names as `crossreid.files` makes them, and as earlier versions did."""
    out = tmp_path / "out"
    stopped(out, model, records)
    parts = out / PARTS
    written = [parts / PLAN, parts / RECORDS, parts / "chunk-00000003.safetensors", *(out / name for name in FILES)]
    left = [temporary_name(path) for path in written]
    left += [path.with_name(f".{path.name}.123.tmp") for path in written]
    for path in left:
        path.write_bytes(b"half")
    theirs = [
        out / name for name in (".records.parquet.tmp", ".records.parquet.mine.tmp.parquet", ".mine.csv.7.tmp.csv")
    ]
    for path in theirs:
        path.write_bytes(b"not ours")
    embed_records(model, records, out, **JOB)
    assert contents(out) == contents(whole) | {path.name: b"not ours" for path in theirs}


def test_a_write_that_is_killed_leaves_a_name_that_is_removed(tmp_path, model, records, whole):
    """The file that a killed process has really left, of the first write of a chunk."""
    out = tmp_path / "out"
    stopped(out, model, records)
    child = os.fork()
    if child == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        with contextlib.suppress(BaseException):
            embed_records(model, records, out, **JOB)
        os._exit(0)
    os.waitpid(child, 0)
    assert (out / PARTS / f".chunk-00000001.safetensors.{child}.tmp.safetensors").is_file()
    embed_records(model, records, out, **JOB)
    assert contents(out) == contents(whole)
