"""The tests of MindSpore run where it is installed, by `make test-mindspore`; elsewhere none is collected."""

import importlib.util

import pytest

# A folder of that name, such as this one, is a package without an origin.
FOUND = importlib.util.find_spec("mindspore")
collect_ignore_glob = [] if FOUND is not None and FOUND.origin is not None else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu():
    from crossreid.mindspore.devices import use_device

    assert use_device("cpu") == "CPU"
