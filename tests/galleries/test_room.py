"""What importing the room costs, and that its names are there."""

import json
import subprocess
import sys

import pytest

from crossreid import galleries


def test_importing_the_package_imports_neither_faiss_nor_torch():
    script = (
        "import sys, json, crossreid, crossreid.galleries; first = [m in sys.modules for m in ('faiss', 'torch', 'pymilvus')]; "
        "crossreid.galleries.open_gallery; import crossreid.galleries.local.faiss_gallery; "
        "print(json.dumps([first, 'torch' in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(run.stdout) == [[False] * 3, False]


def test_public_names_are_where_they_are_said_to_be():
    for name in galleries.__all__:
        assert getattr(galleries, name).__module__.startswith("crossreid.galleries.")
    with pytest.raises(AttributeError, match="no public name 'open_model'"):
        galleries.open_model  # noqa: B018
