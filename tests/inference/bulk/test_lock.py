"""Two jobs never embed into one folder at once."""

import os
import signal
import time

import pytest

from crossreid.data.records import DataError
from crossreid.inference.bulk.folder import PARTS
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.bulk.lock import locked
from embedding_jobs import COUNT, JOB


@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_that_is_under_way_elsewhere_is_left_alone(rank, tmp_path, model, records):
    parts = tmp_path / "out" / PARTS
    parts.mkdir(parents=True)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(parts, rank):
            os.write(writing, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(reading, 1)
    with pytest.raises(DataError, match=rf"process {child} on .* is embedding into it"):
        embed_records(model, records, tmp_path / "out", **JOB)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert embed_records(model, records, tmp_path / "out", **JOB).rows == COUNT
