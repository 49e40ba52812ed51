"""The gallery in process: who may open it, what writing and deleting leave, and what searches see meanwhile."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from crossreid.galleries import (
    Entries,
    Entry,
    Filter,
    GalleryError,
    GalleryLocked,
    IndexOptions,
    open_gallery,
)
from crossreid.galleries.local import candidates, index_file, store, vector_table
from local_gallery import create, indexes_of, names, vectors


def everything(location):
    return b"".join(path.read_bytes() for path in sorted(location.rglob("*")) if path.is_file())


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf-pq"])
def test_compaction_leaves_no_trace_of_what_was_deleted(location, kind):
    """No bytes of the vector, of its half precision, of the id, the identity, the source, in any file."""
    count = 1200
    texts = {
        "identities": [f"identity-{row:05}-" for row in range(count)],
        "sources": [f"/s/{row:05}.jpg" for row in range(count)],
    }
    with create(location, count, **texts) as gallery:
        gallery.build_index(IndexOptions(kind))
        units = np.concatenate([batch.embeddings for batch in gallery.batches()])
        gone = [5, 77, 600, 1199]
        old = units[10].tobytes()
        gallery.delete([names(count)[row] for row in gone])
        gallery.upsert([Entry(vectors(1, seed=5)[0], names(count)[10], texts["identities"][10])])

        def traces(content):
            found = {
                row: [units[row].tobytes() in content, texts["identities"][row].encode() in content] for row in gone
            }
            for row in gone:
                if kind == "hnsw":
                    found[row].append(units[row].astype(np.float16).tobytes() in content)
                found[row] += [texts["sources"][row].encode() in content]
            return found

        # Not merely never there: those that were kept are.
        content = everything(location)
        assert units[6].tobytes() in content
        assert kind != "hnsw" or all(found[2] for found in traces(content).values())  # until compaction, as docs say
        assert gallery.stats().deleted == 5
        gallery.compact()
        content = everything(location)
        assert not any(any(found) for found in traces(content).values())
        assert old not in content
        assert units[6].tobytes() in content
        assert b"identity-00006-" in content
        assert kind != "hnsw" or units[6].astype(np.float16).tobytes() in content
        assert gallery.stats().deleted == 0
        assert len(gallery) == count - 4
        assert gallery.stats().index == kind
        assert [matches.ids[0] for matches in gallery.search(units[[0, 6, 1198]], 1)] == ["00000", "00006", "01198"]
        before = content
        gallery.compact()  # with nothing deleted it changes no entry, and keeps the index
        assert indexes_of(location) == [name for name in indexes_of(location) if name.encode() in before]


def test_equal_scores_are_ordered_by_id_however_many_there_are(location):
    rows = np.repeat(vectors(3), 400, axis=0)
    shuffled = [f"{row:05}" for row in np.random.default_rng(0).permutation(1200)]
    with create(location) as gallery:
        gallery.add(Entries(rows, ids=shuffled))
        for row, query in enumerate(vectors(3)):
            alike = sorted(shuffled[400 * row : 400 * row + 400])
            for queries in (query[None], np.concatenate([query[None], vectors(30, seed=4)])):
                for k in (1, 7, 390):
                    found = gallery.search(queries, k)[0]
                    assert list(found.ids) == alike[:k]
                    assert np.ptp(found.scores) == 0


def test_readers_see_what_there_was_less_what_is_deleted(location):
    with create(location, 50) as gallery:
        with open_gallery(location, read_only=True) as reader:
            gallery.add(Entries(vectors(5, seed=1), ids=names(5, 50)))
            gallery.delete(names(20))
            assert len(reader.search(vectors(1), 100)[0].ids) == 30
            for call in (
                lambda: reader.add([Entry(vectors(1)[0])]),
                lambda: reader.delete(["a"]),
                reader.compact,
                reader.build_index,
            ):
                with pytest.raises(GalleryError, match="read-only"):
                    call()
        with open_gallery(location, read_only=True) as reader:
            assert len(reader.search(vectors(1), 100)[0].ids) == 35


def test_another_process_that_writes_is_refused_and_told_by_whom(location):
    with create(location, 5):
        script = f"from crossreid.galleries import open_gallery; open_gallery({str(location)!r})"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert run.returncode == 1
        assert f"GalleryLocked: {location} is open for writing by process {os.getpid()} on " in run.stderr
    open_gallery(location).close()
    with create(location), pytest.raises(GalleryLocked):
        open_gallery(location)


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_deleted_while_it_is_read_from_disk_is_not_found(location, exact, monkeypatch):
    monkeypatch.setattr(vector_table, "CHUNK", 512)
    asked = vectors(1500)[[3, 400]]
    with create(location, 1500) as gallery:
        gallery.build_index(IndexOptions("ivf-pq", nlist=8, nprobe=8, refine=50))
        near = [list(matches.ids) for matches in gallery.search(asked, 40, exact=True)]
        with open_gallery(location, read_only=True) as reader:
            gallery.delete(near[0] + near[1])  # all that either would look at
            for matches, gone in zip(reader.search(asked, 40, exact=exact), near, strict=True):
                assert len(matches.ids) == 40
                assert not set(matches.ids) & set(gone)
                assert np.isfinite(matches.scores).all()
        with open_gallery(location, read_only=True) as reader:
            gallery.delete(names(60, 700))
            # So many that those that are gone, which are read as zeros, are nearer than others that are there.
            for matches in reader.search(asked, 1350, exact=exact):
                assert len(matches.ids) == 1350
                assert not set(matches.ids) & set(names(60, 700))
        # And in one process, between what a search sees and what it reads.
        near = [list(matches.ids) for matches in gallery.search(asked, 40, exact=True)]
        name = "exact_candidates" if exact else "approximate_candidates"
        call = getattr(candidates, name)

        def slowly(*arguments):
            gallery.delete(near[0] + near[1])
            return call(*arguments)

        monkeypatch.setattr(candidates, name, slowly)
        for matches in gallery.search(asked, 1330, exact=exact):
            assert len(matches.ids) == len(gallery)
            assert not set(matches.ids) & {*near[0], *near[1]}


def test_a_write_that_is_interrupted_leaves_a_build_alone(location, monkeypatch):
    gallery = create(location, 500)
    written, failed = threading.Event(), threading.Event()
    write, extended = index_file.write, vector_table.extended

    def slowly(*arguments):
        about = write(*arguments)
        written.set()
        failed.wait(20)  # the index has its file, and no name yet
        return about

    def interrupted(*_):
        monkeypatch.setattr(vector_table, "extended", extended)
        raise KeyboardInterrupt

    def add():
        with pytest.raises(KeyboardInterrupt):
            gallery.add(Entries(vectors(3, seed=1), ids=names(3, 500)))
        failed.set()

    monkeypatch.setattr(index_file, "write", slowly)
    threads = [
        threading.Thread(target=call, daemon=True) for call in (lambda: gallery.build_index(IndexOptions("hnsw")), add)
    ]
    threads[0].start()
    assert written.wait(20)
    monkeypatch.setattr(vector_table, "extended", interrupted)
    threads[1].start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "two threads wait for each other"
    assert len(gallery) == 503
    assert gallery.stats().uncovered == 3
    gallery.close()
    with open_gallery(location) as gallery:
        assert gallery.stats().index == "hnsw"
        assert gallery.stats().uncovered == 3


def test_retention_does_not_read_every_entry(location):
    """A million entries by the minute: the database would be read from end to end, memory is there already."""
    with create(location, 300, times=np.arange(300.0), cameras=np.arange(300) % 3) as gallery:
        asked = []
        gallery._store.database._reader.set_trace_callback(asked.append)
        assert gallery.delete(filter=Filter(until=0.0)) == 0
        assert gallery.delete(filter=Filter(added_until=5.0)) == 0
        assert gallery.delete(filter=Filter(until=30.0, cameras=(1,))) == 10
        assert [text for text in asked if "entries" in text] == []
    with open_gallery(location) as gallery:
        assert len(gallery) == 290
        assert gallery.get(names(4)) != [None] * 4
        assert gallery.get(["00001", "00004"]) == [None, None]


def test_more_entries_are_asked_for_than_a_statement_takes(location, monkeypatch):
    monkeypatch.setattr(store, "_MANY", 100)
    with create(location, 350) as gallery:
        for _ in range(2):  # and none of them is taken for deleted
            (matches,) = gallery.search(vectors(1, seed=3), 340)
            assert len(set(matches.ids)) == 340
            assert len(gallery) == 350
        assert [entry.id for entry in gallery.get(names(350))] == names(350)
        assert len(gallery.sample(330)) == 330
        assert len(gallery.embeddings_of(names(350))) == 350
