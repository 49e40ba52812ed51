"""What `make` installs is named by version and hash, and by no address; uv, which installs the rest, too."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "requirements-docs.lock",
        "requirements-mindspore.lock",
        "requirements-serve.lock",
        "requirements-uv.lock",
    ],
)
def test_every_package_is_pinned_by_hash_and_none_by_an_address(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    lines = re.sub(r"(?m)^ *#.*$", "", text.replace("\\\n", " ")).splitlines()
    packages = [line for line in lines if line.strip()]
    assert packages
    for package in packages:
        assert re.match(r"[\w.-]+==[\w.!+-]+ .*--hash=sha256:[0-9a-f]{64}", package), package
    assert "://" not in text


def test_uv_is_installed_from_its_lock_alone():
    commands = re.findall(r"pip install [^\n\\]*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(commands) == 11
    assert all(
        "--require-hashes -r requirements" in command or "--no-deps --editable ." in command for command in commands
    )
    assert (ROOT / "requirements-uv.lock").read_text(encoding="utf-8").count("==") == 1


def test_what_the_images_hold_are_the_versions_that_were_tested():
    versions = {
        lock: set(re.findall(r"(?m)^([\w.-]+==[^\s;\\]+)", (ROOT / lock).read_text(encoding="utf-8")))
        for lock in ("requirements-serve.lock", "requirements.lock")
    }
    assert versions["requirements-serve.lock"] < versions["requirements.lock"]
    assert {name.split("==")[0] for name in versions["requirements-serve.lock"]} >= {
        "torch",
        "uvicorn",
        "pymilvus",
        "onnxruntime",
    }
