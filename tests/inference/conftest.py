"""A run, images to embed with it, what one uninterrupted job writes; a local S3 server and a local Ray."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossreid.inference.bulk import ray_pipeline
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.open_model import open_model
from crossreid.inference.sources import source_records
from embedding_jobs import COUNT, JOB
from local_s3 import local_s3
from small_model import recipe_of, write_run


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A run, 45 small images of noise in both modalities, and the manifest that lists them."""
    place = tmp_path_factory.mktemp("bulk")
    write_run(place / "run", recipe_of("variational_distillation", test_features="both"))
    write_run(place / "other", recipe_of("baseline"))
    generator = np.random.default_rng(0)
    (place / "images" / "deep").mkdir(parents=True)
    rows = ["path,identity,camera,modality,time,tracklet"]
    for number in range(COUNT):
        path = f"images/{'deep/' if number % 7 == 0 else ''}{number:03d}.{'png' if number % 3 else 'jpg'}"
        Image.fromarray(generator.integers(0, 256, (40 + number, 30, 3), dtype=np.uint8)).save(place / path)
        kind = "infrared" if number % 3 == 1 else "visible"
        time_of = f"2026-11-21T08:00:{number:02d}Z" if number % 2 else ""
        rows.append(
            f"{path},{number % 5 if number % 4 else ''},{number % 6},{kind},{time_of},{'t' if number == 3 else ''}"
        )
    (place / "own.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(scope="session")
def model(place):
    return open_model(place / "run", device="cpu")


@pytest.fixture(scope="session")
def records(place):
    return source_records(str(place / "own.csv"))


@pytest.fixture(scope="session")
def whole(place, model, records):
    """What one uninterrupted job writes."""
    done = embed_records(model, records, place / "whole", **JOB)
    assert (done.rows, done.before, done.bad) == (COUNT, 0, 0)
    return place / "whole"


@pytest.fixture(scope="session")
def endpoint():
    """The address of a local S3 server."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with local_s3() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def ray():
    """A local Ray, for as long as it is needed: it has a dozen processes. Jobs of this process use it."""
    if "CROSSREID_TEST_RAY" not in os.environ:
        pytest.skip("run in a process of its own by test_ray_pipeline.py")
    pytest.importorskip("ray")
    outside = dict(os.environ)
    beside = Path(__file__).parent
    paths = [str(beside / "bulk"), str(beside.parent / "support"), os.environ.get("PYTHONPATH", "")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths)} | ray_pipeline.ENVIRONMENT
    import ray

    ray.init(num_cpus=2, log_to_driver=False, **ray_pipeline.HERE)
    for name in os.environ.keys() - outside.keys() - ray_pipeline.ENVIRONMENT.keys():
        del os.environ[name]
    os.environ |= {name: value for name, value in outside.items() if name == "PYTHONPATH"}
    yield ray
    ray.shutdown()
