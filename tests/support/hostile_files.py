"""Damage to what a run keeps on disk, and disks that fill up: small, made on the spot, for any test that needs it."""

import contextlib
import json
import os
import subprocess

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

BAD_LOG_LINES = {
    "null": b"null",
    "a number": b"5",
    "a list": b"[1]",
    "no step": b'{"a": 1}',
    "a step that is a text": b'{"step": "x"}',
    "a step that is true": b'{"step": true}',
    "no UTF-8": b"\xff\xfe{",
    "half a line": b'{"step": 1, "los',
    "depth": b"[" * 100_000,
    "NULs": b"\x00" * 40,
}

# Of a checkpoint: facts that are there, and are something else.
BAD_FACTS = {
    "epoch": ["x", None, -1, 1.5, [1], True],
    "step": ["x", {}, -1],
    "best": ["x", [0.5]],
    "losses": [5, [1], {"a": "x"}, None],
    "groups": [5, {}, [5], [], [{"lr": "x"}]],
    "generators": [5, {}, [5], [{}], [{"numpy": 5, "python": [3, None]}]],
    "recipe": [5, [1], None],
    "averaged": ["x", None],
    "tensors": [5, [1], {"model": "x"}],
    "scaler": [5, "x"],
    "changes": [5, {}, [5]],
    "versions": [5, {"torch": 2}],
}


def parts_of(path):
    """A checkpoint's tensors, its facts and the rest of its metadata."""
    with safe_open(path, framework="pt") as stored:
        metadata = dict(stored.metadata())
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118  (not a dict)
    return tensors, json.loads(metadata.pop("facts")), metadata


def rewrite(path, *, tensors=None, facts=None, hashed=True):
    """Put tensors or facts in place of a checkpoint's own. Not `hashed`, it is one that an earlier state of 0.1.0 wrote."""
    own, own_facts, metadata = parts_of(path)
    facts = own_facts | (facts or {})
    if not hashed:
        facts.pop("sha256", None)
        metadata.pop("facts_sha256", None)
    save_file(own | (tensors or {}), path, metadata=metadata | {"facts": json.dumps(facts)})


def flip_byte(path, position):
    """Change one byte of a file, counted from its end where `position` is negative."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x5A
    path.write_bytes(bytes(content))


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """A file system of so many kilobytes at `folder`; the test is skipped where none may be mounted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
