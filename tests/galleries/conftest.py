"""A gallery on every backend: in process, a Milvus Lite file, and Milvus by its address."""

import time
from types import SimpleNamespace

import pytest

from crossreid.galleries import open_gallery
from opened_gallery import DIMENSION, MODEL


@pytest.fixture(scope="module", autouse=True)
def asked_soon():
    """pymilvus sleeps half a second before it first asks whether an index is built; those of tests are, after a few milliseconds."""
    from pymilvus.client import grpc_handler

    shorter = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(seconds / 50)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_handler, "time", shorter)
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A Milvus that is reached over the network, as a cluster is; Milvus Lite behind it."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path_factory.mktemp("cluster")))
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=1)
    database.close()


@pytest.fixture(params=["faiss", "milvus-lite", "milvus"])
def opened(request, tmp_path):
    """A function that opens the same gallery each time it is called, and closes what is open at the end."""
    location, options = tmp_path / "gallery", {}
    if request.param == "milvus-lite":
        location = tmp_path / "gallery.db"
    elif request.param == "milvus":
        location, options = request.getfixturevalue("address"), {"collection": f"g{abs(hash(tmp_path))}"}
    galleries = []

    def call(**given):
        for gallery in galleries:
            gallery.close()
        galleries.append(open_gallery(location, **{"model": MODEL, "dimension": DIMENSION, **options, **given}))
        return galleries[-1]

    call.location, call.options, call.backend = location, options, request.param
    yield call
    for gallery in galleries:
        gallery.close()


@pytest.fixture
def location(tmp_path):
    """Where a test's own gallery in process may be."""
    return tmp_path / "gallery"
