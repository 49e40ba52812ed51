"""A finished job is recognised, and what was done to it since is named."""

import os
import shutil

import pytest

from crossreid.data.records import DataError
from crossreid.inference.bulk.folder import PARTS
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.embedding_files import EMBEDDINGS, RECORDS
from embedding_jobs import JOB, contents, copied, tree


def test_a_finished_job_of_which_a_file_is_gone_or_damaged_says_so_and_how_to_mend_it(tmp_path, model, records):
    """Nothing is called done, nothing removed; and what is advised helps."""
    images = records[:9]
    embed_records(model, images, tmp_path / "whole", **JOB)
    rows, table = ((tmp_path / "whole" / name).read_bytes() for name in (EMBEDDINGS, RECORDS))
    cases = {
        "lost": (rows, None, "records.parquet not found"),
        "cut": (rows, table[:-9], "records.parquet is not the one"),
        "flipped": (rows, table[:40] + bytes([table[40] ^ 1]) + table[41:], "records.parquet is not the one"),
        "short": (rows[:-5], table, "embeddings.safetensors is damaged"),
        "empty": (b"", table, "embeddings.safetensors is damaged"),
    }
    for name, (first, second, told) in cases.items():
        out = tmp_path / name
        (out / PARTS).mkdir(parents=True)
        (out / PARTS / "plan.json").write_text("of a process that was killed")
        (out / EMBEDDINGS).write_bytes(first)
        if second is not None:
            (out / RECORDS).write_bytes(second)
        before = tree(out)
        with pytest.raises(
            DataError, match=rf"{told}.*Move embeddings.safetensors and records.parquet away and embed again"
        ):
            embed_records(model, images, out, **JOB)
        assert tree(out) == before
        for path in (out / EMBEDDINGS, out / RECORDS, out / PARTS / "plan.json"):
            path.unlink(missing_ok=True)
        assert embed_records(model, images, out, **JOB).before == 0
        assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_job_whose_images_were_changed_says_so(tmp_path, model, records):
    images = copied(records[:9], tmp_path / "images")
    out = tmp_path / "out"
    embed_records(model, images, out, **JOB)
    assert embed_records(model, images, out, **JOB).before == 9
    before = contents(out)
    later = (out / EMBEDDINGS).stat().st_mtime_ns + 10**9
    os.utime(images[4].path, ns=(later, later))
    with pytest.raises(
        DataError, match=rf"{images[4].path} for example.*move embeddings.safetensors and records.parquet away"
    ):
        embed_records(model, images, out, **JOB)
    images[4].path.unlink()
    with pytest.raises(DataError, match="images have changed since they were embedded: their sizes or times"):
        embed_records(model, images, out, **JOB)
    assert contents(out) == before
    for name in (EMBEDDINGS, RECORDS):
        (out / name).unlink()
    assert embed_records(model, images, out, **JOB, on_bad_image="skip").rows == 8
    shutil.copy2(records[4].path, images[4].path)
    for name in (EMBEDDINGS, RECORDS):
        (out / name).unlink()
    assert embed_records(model, images, out, **JOB).bad == 0
    assert not (out / "bad_images.csv").exists(), "the list of the job before is not left as if it were of this one"
