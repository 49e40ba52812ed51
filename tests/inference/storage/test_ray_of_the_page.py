"""The page's command on a Ray that it starts: Ctrl-C says nothing of Ray, and the same job goes on without Ray."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crossreid.evaluation.embedding_files import read_embeddings
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.sources import source_records
from embedding_jobs import chunk_files
from local_s3 import storage_environment

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "embedding_at_scale.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_is_interrupted_without_a_word_of_ray_and_goes_on_without_it(place, s3, photos, tmp_path, model):
    """Ctrl-C reaches all processes of the terminal."""
    pytest.importorskip("ray")
    for path in (place / "images" / "deep").iterdir():
        (photos / f"crops/{path.name}").write_bytes([path.read_bytes()])
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "vd").symlink_to(place / "run")
    (line,) = [line for line in PAGE.splitlines() if line.startswith("crossreid") and "--engine ray" in line]
    words = shlex.split(line)[1:]
    out = tmp_path / words[words.index("--out") + 1]
    command = [sys.executable, "-m", "crossreid", *words, "--precision", "float32", "--batch", "1", "--chunk", "1"]
    environment = os.environ | storage_environment(s3)
    with (tmp_path / "told").open("w") as told:
        job = subprocess.Popen(command, stdout=told, stderr=told, start_new_session=True, cwd=tmp_path, env=environment)
        while not chunk_files(out) and job.poll() is None:
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGINT)
        assert job.wait(60) == 130, (tmp_path / "told").read_text()
    lines = [line for line in (tmp_path / "told").read_text().splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("images ")]  # the bar
    assert told == ["interrupted; run the same command to resume from the last chunk."]
    stored = source_records("s3://photos/crops")
    left = len(chunk_files(out))
    assert 1 <= left < len(stored)
    done = embed_records(model, stored, out, batch=1, chunk=1)
    assert (done.rows, done.before) == (len(stored), left)
    embed_records(model, stored, tmp_path / "plain", batch=1, chunk=1)
    ours, plain = read_embeddings(out), read_embeddings(tmp_path / "plain")
    np.testing.assert_allclose(ours.embeddings, plain.embeddings, atol=1e-6)
