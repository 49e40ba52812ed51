"""Writes to a gallery until it is killed: in a process of its own, for the tests of what survives.

`write(FOLDER, STEP)` tells each operation on standard output when it has returned. STEP counts what happens to files, and
every so many instructions of the database; there the process kills itself, as SIGKILL from outside would. 0: it lives, and
tells how many steps there were. In `tests/galleries/test_killed.py` the same operations are checked.
"""

import os
import signal

import numpy as np

from crossreid.galleries import Entries, IndexOptions, open_gallery, unfinished_folders
from crossreid.galleries.local import faiss_index
from crossreid.galleries.local.database import Database

MODEL, DIMENSION, PART = "feed" * 16, 8, 120


def vectors(first):
    return np.random.default_rng(first).standard_normal((PART, DIMENSION))


def names(first):
    return [f"{first:03}-{row:03}" for row in range(PART)]


def entries(first):
    return Entries(vectors(first), ids=names(first), sources=names(first))


def operations(folder):
    """Name and call of each operation; `opened` is the gallery of those that need it."""
    gallery = []
    calls = [
        ("open", lambda: gallery.append(open_gallery(folder / "gallery", model=MODEL, dimension=DIMENSION))),
        ("add 1", lambda: gallery[0].add(entries(1))),
        ("add 2", lambda: gallery[0].add(entries(2))),
        ("index 1", lambda: gallery[0].build_index(IndexOptions("hnsw"))),
        ("delete 1", lambda: gallery[0].delete(names(1)[:60])),
        ("upsert 2", lambda: gallery[0].upsert(Entries(vectors(20), ids=names(2), sources=names(2)))),
        ("snapshot", lambda: gallery[0].snapshot(folder / "snapshot")),
        ("index 2", lambda: gallery[0].build_index(IndexOptions("hnsw", m=8))),
        ("compact", lambda: gallery[0].compact()),
        ("add 3", lambda: gallery[0].add(entries(3))),
    ]
    return calls


def kill_at(step):
    """Count, and die at a step."""
    steps = [0]

    def happened(*_):
        steps[0] += 1
        if steps[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(module, name):
        call = getattr(module, name)

        def wrapped(*arguments, **options):
            happened()
            result = call(*arguments, **options)
            happened()
            return result

        setattr(module, name, wrapped)

    for name in ("fsync", "rename", "unlink", "mkdir"):
        around(os, name)
    import faiss

    faiss.omp_set_num_threads(1)  # threads that the process had before a fork are not there in it
    around(faiss, "write_index")
    around(faiss_index, "build")
    around(unfinished_folders, "publish")
    connect = Database._connect

    def watched(self):
        connection = connect(self)
        connection.set_progress_handler(happened, 400)
        return connection

    Database._connect = watched
    return steps


def write(folder, step):
    steps = kill_at(step)
    for name, call in operations(folder):
        call()
        print(name, steps[0], flush=True)


def add_on_and_on(folder):
    """Add parts until it is killed, and tell the number of each."""
    gallery = open_gallery(folder / "gallery", model=MODEL, dimension=DIMENSION)
    for number in range(1, 1_000_000):
        gallery.add(entries(number))
        print(number, flush=True)
