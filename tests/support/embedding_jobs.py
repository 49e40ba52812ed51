"""Jobs of embedding: interrupted, shared by processes, and what they leave on disk."""

import contextlib
import os
import shutil
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from crossreid.inference.bulk.job import embed_records
from crossreid.inference.processes import process_group

COUNT = 45  # images of the fixture `records`
JOB = {"batch": 4, "chunk": 8}  # 6 chunks, the last of 5 images


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def chunk_files(out):
    found = {}
    for path in out.glob("crossreid-parts/chunk-*"):
        with contextlib.suppress(FileNotFoundError):  # a job that is joined removes them
            about = path.stat()
            found[path.name] = (about.st_ino, about.st_mtime_ns)
    return found


def stopped(out, model, records, after=8, **options):
    """A job that is interrupted once so many images are done."""
    total = 0

    def advance(done, images=None):
        nonlocal total
        total += done
        if total >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_records(model, records, out, **{**JOB, **options}, advance=advance)


def in_processes(world, out, model, records, *, kill_after=None):
    """So many processes share a job, as torchrun starts them; all are killed when so many chunks are there."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            os.environ |= {
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            status = 1
            with contextlib.suppress(BaseException), process_group() as group:
                embed_records(model, records, out, **JOB, group=group)
                status = 0
            os._exit(status)
        children.append(child)
    while kill_after is not None and len(chunk_files(out)) < kill_after:
        time.sleep(0.001)
    for child in children if kill_after is not None else ():
        os.kill(child, signal.SIGKILL)
    return [os.waitpid(child, 0)[1] for child in children]


def tree(folder):
    """Everything below a folder but locks, with its contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.startswith("lock")
    }


def copied(records, folder):
    """The images in a folder of their own, where they may be changed."""
    folder.mkdir()
    return [replace(record, path=Path(shutil.copy2(record.path, folder))) for record in records]


def repainted(path):
    Image.effect_noise((30, 40), 99).convert("RGB").save(path)
    time_of = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(time_of, time_of))
