"""Chunks embedded by a local Ray: the rows and files of the plain job, whatever is lost on the way."""

import json
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding_files import read_embeddings
from crossreid.inference.bulk import ray_pipeline
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.bulk.ray_pipeline import Cluster
from crossreid.inference.engines.names import parse_distributed
from crossreid.inference.open_model import open_model
from embedding_jobs import COUNT, JOB, copied, stopped
from forked import Forked, text_of


def opened(run, device):
    return open_model(run, device=device)


class DyingOnce(ray_pipeline._Embed):
    """An actor that ends with its process in the middle of the second batch of all."""

    def __init__(self, mark, *arguments):
        super().__init__(*arguments)
        self.mark, self.calls = mark, 0

    def __call__(self, row):
        self.calls += 1
        if self.calls == 2 and not self.mark.exists():
            self.mark.touch()
            os._exit(1)
        return super().__call__(row)


def test_an_engine_may_be_distributed_by_ray():
    assert parse_distributed("onnx") == (False, "onnx")
    assert parse_distributed("ray") == (True, None)
    assert parse_distributed("ray:onnx") == (True, "onnx")
    for text in ("ray:", "ray:tensorrt", "rays"):
        with pytest.raises(CrossreidError, match="--engine"):
            parse_distributed(text)


@pytest.mark.slow
def test_rows_are_those_of_the_plain_job_though_an_actor_dies(place, tmp_path, model, records, whole):
    """In a process of its own: one that is forked from one that has held Ray may stand still, and other tests fork."""
    pytest.importorskip("ray")
    mark, out, log = tmp_path / "died", tmp_path / "out", tmp_path / "log"
    stopped(out, model, records, after=20)  # by the plain job, which is gone on with
    job = Forked(_embed_though_an_actor_dies, mark, place, out, model, records, log=log)
    assert job.wait(300) == 0, text_of(log)
    before, rows = json.loads((out.parent / "done.json").read_text())
    assert mark.exists()
    assert before in (16, 24)
    assert rows == COUNT
    found, expected = read_embeddings(out), read_embeddings(whole)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-6)
    assert found.paths.tolist() == expected.paths.tolist()
    assert (out / "records.parquet").read_bytes() == (whole / "records.parquet").read_bytes()


def _embed_though_an_actor_dies(mark, place, out, model, records):
    """On a Ray of this process, whose workers import what is defined here."""
    import ray

    ray_pipeline._Embed = type(
        "Mortal", (DyingOnce,), {"__init__": lambda self, *given: DyingOnce.__init__(self, mark, *given)}
    )
    beside = Path(__file__).parent
    paths = [str(beside), str(beside.parents[1] / "support"), os.environ.get("PYTHONPATH", "")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths)} | ray_pipeline.ENVIRONMENT
    ray.init(num_cpus=2, log_to_driver=False, **ray_pipeline.HERE)
    try:
        cluster = Cluster(partial(opened, place / "run"), device="cpu")
        done = embed_records(model, records, out, **JOB, embedding=cluster.chunks)
    finally:
        ray.shutdown()
    (out.parent / "done.json").write_text(json.dumps([done.before, done.rows]))


@pytest.fixture
def without_ray(monkeypatch):
    """The pipeline's two functions in this process, one batch after the other, in place of Ray Data."""

    def rows(ray, cluster, work, batches):
        actor = ray_pipeline._Embed(cluster.open, "cpu", work.plan.model, work.plan.precision)
        for item in ray_pipeline._items(work, batches):
            yield actor(ray_pipeline._read(item, seen=work.model.preprocessing, skip=work.skip))

    monkeypatch.setattr(ray_pipeline, "_rows", rows)
    monkeypatch.setattr(ray_pipeline, "_connected", nullcontext)


@pytest.mark.usefixtures("without_ray")
def test_bad_images_and_other_models_are_named(place, tmp_path, model, records):
    few = copied(records[:6], tmp_path / "images")
    few[2].path.write_bytes(b"no image")
    cluster = Cluster(partial(opened, place / "run"), device="cpu")
    with pytest.raises(DataError, match="is not an image that can be decoded"):
        embed_records(model, few, tmp_path / "stop", **JOB, embedding=cluster.chunks)
    done = embed_records(model, few, tmp_path / "skip", **JOB, embedding=cluster.chunks, on_bad_image="skip")
    assert (done.rows, done.bad) == (5, 1)
    assert few[2].path.as_posix() in (tmp_path / "skip" / "bad_images.csv").read_text()
    other = Cluster(partial(opened, place / "other"), device="cpu")
    with pytest.raises(CrossreidError, match="holds another model on a machine of the cluster"):
        embed_records(model, records[:4], tmp_path / "other", **JOB, embedding=other.chunks)
