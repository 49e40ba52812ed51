"""A process is killed at many points of what it writes: what it was told is kept is there, and nothing half-written is served."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import writer
from crossreid.galleries import Entries, GalleryError, IndexOptions, measure_recall, open_gallery, restore
from forked import Forked, text_of
from writer import DIMENSION, MODEL, names, vectors

PRELUDE = f"import sys; sys.path.insert(0, {str(Path(writer.__file__).parent)!r})\nfrom writer import *\n"
ORDER = [name for name, _ in writer.operations(Path())]


def run(folder, step):
    """What was told before the end: the operations, and the steps that had happened at each."""
    log = folder.with_suffix(".log")
    process = Forked(writer.write, folder, step, log=log)
    assert process.wait(120) == (-signal.SIGKILL if step else 0), text_of(log)
    lines = [line.rsplit(" ", 1) for line in text_of(log).splitlines()]
    return [name for name, _ in lines], [int(count) for _, count in lines]


def contents(done):
    """The entries that there are after operations, as id -> embedding."""
    there = {}
    for name in done:
        verb, _, number = name.partition(" ")
        if verb in ("add", "upsert"):
            there.update(zip(names(int(number)), vectors(int(number) * (10 if verb == "upsert" else 1)), strict=True))
        elif verb == "delete":
            for name in names(1)[:60]:
                del there[name]
    return there


def holds(gallery, there):
    """Whether a gallery has just these entries, and finds each of them, by its index and without."""
    found = {name: row for part in gallery.batches() for name, row in zip(part.ids, part.embeddings, strict=True)}
    if set(found) != set(there):
        return False
    expected = np.array([there[name] / np.linalg.norm(there[name]) for name in found]).reshape(-1, DIMENSION)
    if not np.allclose(np.array(list(found.values())).reshape(-1, DIMENSION), expected, atol=1e-6):
        return False
    if there:
        asked = list(there)[:: max(1, len(there) // 20)]
        for exact in (True, False):
            matches = gallery.search(np.array([there[name] for name in asked]), 1, exact=exact)
            assert [one.ids[0] for one in matches] == asked
        assert measure_recall(gallery, count=20).mean > 0.9
    return True


def test_killed_at_every_kind_of_point(tmp_path):
    done, counts = run(tmp_path / "whole", 0)
    assert done == ORDER
    # Some points of each operation: near its beginning, within, and at its end.
    points = {1}
    for before, after in zip([0, *counts], counts, strict=False):
        points |= {before + 1, (2 * before + after) // 3, (before + 3 * after) // 4, after - 1, after}
    points = sorted(point for point in points if 0 < point <= counts[-1])
    assert len(points) > 30
    share = int(os.environ.get("CROSSREID_KILLS", "10"))
    seen = set()
    for number in range(share):
        folder = tmp_path / f"killed-{number}"
        done, _ = run(folder, points[number * len(points) // share])
        assert done == ORDER[: len(done)]
        during = ORDER[len(done)] if len(done) < len(ORDER) else None
        seen.add(during)
        if "open" not in done:
            with open_gallery(folder / "gallery", model=MODEL, dimension=DIMENSION) as gallery:
                assert len(gallery) == 0
            assert [path.name for path in folder.iterdir()] == ["gallery"]
            continue
        with open_gallery(folder / "gallery", model=MODEL) as gallery:
            now = contents(done)
            # What was going on is there as a whole or not at all.
            assert holds(gallery, now) or holds(gallery, contents([*done, during])), during
            wanted = "hnsw" if "index 1" in done else ("exact", "hnsw")
            assert gallery.stats().index in wanted
            files = {path.name for path in gallery.folder.iterdir()}
            named = (gallery._store.facts.index_file() or {"file": None})["file"]
            assert {name for name in files if name.startswith("index-")} == ({named} if named else set())
            gallery.add(Entries(vectors(9), ids=names(9)))
            assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        if (folder / "snapshot").exists():
            with open_gallery(folder / "snapshot", model=MODEL, read_only=True) as copy:
                assert holds(copy, contents(ORDER[: ORDER.index("snapshot")]))
        else:
            assert "snapshot" not in done
    assert {"index 1", "compact", "snapshot"} <= seen


def test_killed_from_outside_while_adding(tmp_path):
    process, log = Forked(writer.add_on_and_on, tmp_path, log=tmp_path / "log"), tmp_path / "log"
    while len(text_of(log).splitlines()) < 20:
        assert process.poll() is None, text_of(log)
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = [int(line) for line in text_of(log).rpartition("\n")[0].split()]
    with open_gallery(tmp_path / "gallery", model=MODEL) as gallery:
        has_all_that_was_told(gallery, told[-1])
        assert len(gallery) % writer.PART == 0


def has_all_that_was_told(gallery, told):
    for number in range(1, told + 1):
        assert None not in gallery.get(names(number))
    after = [entry is not None for entry in gallery.get(names(told + 1))]
    assert len(gallery) == told * writer.PART + sum(after)
    assert gallery.search(vectors(told)[:1], 1)[0].ids[0] == names(told)[0]


# One process imports pymilvus, which takes seconds; those that are killed are its children.
MILVUS = """
import os, signal
import pymilvus, milvus_lite.server_manager
def child(work):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        work(lambda text: os.write(writing, text.encode()))
        os._exit(3)
    os.close(writing)
    return process, os.fdopen(reading)
def opened(name, **more):
    return open_gallery(os.path.join(FOLDER, name), model=MODEL, dimension=DIMENSION, **more)
def adding(tell):
    gallery = opened("adding.db")
    for number in range(1, 1000):
        gallery.add(entries(number)); tell(f"{number}\\n")
process, told = child(adding)
for line in told:
    if line == "4\\n":
        break
os.kill(process, signal.SIGKILL)
print(([4] + [int(line) for line in told.read().split()])[-1])
assert os.waitpid(process, 0)[1] == signal.SIGKILL
def compacting(call):
    def work(tell):
        gallery = opened(f"{call}.db")
        gallery.add(entries(1)); gallery.delete(names(1)[:60])
        setattr(gallery._connection.client, call, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        gallery.compact()
    return work
def indexing(call, before, after):
    def work(tell):
        gallery = opened(f"{before}-{after}-{call}.db", index=before)
        gallery.add(entries(1))
        setattr(gallery._connection.client, call, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        gallery.build_index(IndexOptions(after, ef_search=99))
    return work
def restoring(tell):
    from crossreid.galleries import restore
    restore(os.path.join(FOLDER, "copy"), os.path.join(FOLDER, "restored.db"), lambda *a: os.kill(os.getpid(), signal.SIGKILL))
with opened("whole") as gallery:
    gallery.add(entries(1)); gallery.snapshot(os.path.join(FOLDER, "copy"))
works = [*map(compacting, ("flush", "drop_collection")), *(indexing(*point) for point in POINTS), restoring]
for process, _ in [child(work) for work in works]:
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
"""
# Before the index is made, after it is, and before it is told.
POINTS = [
    ("create_index", "exact", "hnsw"), ("load_collection", "exact", "hnsw"),
    ("create_index", "hnsw", "exact"), ("upsert", "hnsw", "exact"),
]  # fmt: skip


def test_milvus_lite_killed_while_it_is_added_to_written_anew_indexed_and_restored(tmp_path):
    script = f"{PRELUDE}FOLDER = {str(tmp_path)!r}; POINTS = {POINTS!r}\n{MILVUS}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with open_gallery(tmp_path / "adding.db", model=MODEL) as gallery:
        has_all_that_was_told(gallery, int(done.stdout))
    for call, left in (("flush", "crossreid_entries_1"), ("drop_collection", "crossreid_entries_2")):
        with open_gallery(tmp_path / f"{call}.db", model=MODEL) as gallery:
            assert holds(gallery, contents(["add 1", "delete 1"]))
            kept = [path.name for path in (tmp_path / f"{call}.db" / "collections").iterdir()]
            assert sorted(kept) == ["crossreid_about", left]
    for call, before, after in POINTS:
        name = tmp_path / f"{before}-{after}-{call}.db"
        with open_gallery(name, model=MODEL) as gallery:
            told = gallery._connection.client.describe_index(gallery._entries.name, "embedding")["index_type"]
            assert gallery.stats().index == {"FLAT": "exact", "HNSW": "hnsw"}[told]
            assert holds(gallery, contents(["add 1"]))
            gallery.build_index(IndexOptions(after))
            assert gallery.stats().index == after
    for options in ({"model": MODEL}, {"read_only": True}, {"model": MODEL, "dimension": DIMENSION, "create": True}):
        with pytest.raises(GalleryError, match=r"restored.db holds part of a gallery.* restore the snapshot again"):
            open_gallery(tmp_path / "restored.db", **options)
    restore(tmp_path / "copy", tmp_path / "restored.db")
    with open_gallery(tmp_path / "restored.db", model=MODEL) as gallery:
        assert holds(gallery, contents(["add 1"]))
    with pytest.raises(GalleryError, match="already is a gallery"):
        restore(tmp_path / "copy", tmp_path / "restored.db")


def test_milvus_lite_is_compacted_without_a_trace(tmp_path):
    where = tmp_path / "gallery.db"
    with open_gallery(where, model=MODEL, dimension=DIMENSION) as gallery:
        texts = [f"identity-{row:03}-" for row in range(writer.PART)]
        gallery.add(Entries(vectors(1), ids=names(1), identities=texts))
        units = np.concatenate([part.embeddings for part in gallery.batches()])
        ids = [name for part in gallery.batches() for name in part.ids]
        gone = ids[:5]
        gallery.delete(gone)
        gallery.compact()
        content = b"".join(path.read_bytes() for path in where.rglob("*") if path.is_file())
        assert units[7].tobytes() in content
        for row, name in enumerate(gone):
            assert units[row].tobytes() not in content
            assert name.encode() not in content
            assert texts[names(1).index(name)].encode() not in content
        with pytest.raises(GalleryError, match="Milvus Lite has no IVF-PQ"):
            gallery.build_index(writer.IndexOptions("ivf-pq"))
        assert len(gallery) == writer.PART - 5
