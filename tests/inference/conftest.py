"""A run, images to embed with it, what one uninterrupted job writes, and a local S3 server."""

import numpy as np
import pytest
from PIL import Image

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
