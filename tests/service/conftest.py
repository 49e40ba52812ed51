"""A service of rendered people on a port, for the tests of a module; some modules have one of their own."""

import pytest

from served import make_place, served


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    with served(place, tmp_path_factory.mktemp("state"), keep_images=True) as found:
        yield found


@pytest.fixture
def client(running):
    with running.client() as opened:
        yield opened
