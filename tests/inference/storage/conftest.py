"""A bucket of a local S3 server, in this process and in those that it starts."""

import contextlib
import itertools
import os

import pytest

from crossreid.data import object_storage
from crossreid.data.addresses import Address
from embedding_jobs import COUNT
from local_s3 import storage_environment

_NUMBERS = itertools.count()
_OPEN = {}  # file systems of the server, for all tests: to make one takes as long as a test


@pytest.fixture
def s3(endpoint, monkeypatch):
    """fsspec, configured as the docs say, by variables."""
    import fsspec

    for name, value in storage_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})
    monkeypatch.setattr(object_storage, "_OPEN", _OPEN)
    return endpoint


@pytest.fixture
def bucket(s3):
    """The address of an empty bucket."""
    name = f"bucket-{os.getpid()}-{next(_NUMBERS)}"
    object_storage._files(f"s3://{name}")[0].mkdir(name)
    return Address(f"s3://{name}")


@pytest.fixture
def photos(s3):
    """The bucket of the page's commands, which tests of one server share."""
    with contextlib.suppress(FileExistsError):
        object_storage._files("s3://photos")[0].mkdir("photos")
    return Address("s3://photos")


@pytest.fixture
def memory():
    """An empty prefix of fsspec's store in this process's memory."""
    return Address(f"memory://here/{os.getpid()}-{next(_NUMBERS)}")


@pytest.fixture
def stored(place, request):
    """A function that puts the images of the fixture `place`, or so many, and their manifest, below an address."""

    def put(prefix, count=COUNT):
        lines = (place / "own.csv").read_bytes().splitlines(keepends=True)[: count + 1]
        for line in lines[1:]:
            path = line.decode().partition(",")[0]
            (prefix / path).write_bytes([(place / path).read_bytes()])
        (prefix / "own.csv").write_bytes(lines)
        return prefix

    return put
