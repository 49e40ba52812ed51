"""The gallery in process: its files, its indexes, what deleting removes, and who may open it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from crossreid.galleries import (
    Entries,
    Entry,
    Filter,
    GalleryError,
    GalleryLocked,
    IndexOptions,
    measure_recall,
    open_gallery,
    unfinished_folders,
)
from crossreid.galleries.errors import GalleryFault
from crossreid.galleries.local import candidates, faiss_gallery, index_file, vector_table

MODEL, DIMENSION = "ab" * 32, 16


def vectors(count, seed=0, dimension=DIMENSION):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def names(count, start=0):
    return [f"{row:05}" for row in range(start, start + count)]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "gallery"


def create(place, count=0, index="exact", **more):
    gallery = open_gallery(place, model=MODEL, dimension=DIMENSION, index=index)
    if count:
        gallery.add(Entries(vectors(count), ids=names(count), **more))
    return gallery


def indexes_of(place):
    return sorted(path.name for path in place.iterdir() if path.name.startswith("index-"))


@pytest.mark.parametrize(
    "options",
    [IndexOptions("hnsw"), IndexOptions("ivf-pq", nlist=8, nprobe=8, refine=400)],
    ids=lambda options: options.kind,
)
def test_an_index_and_what_came_after_it_are_searched_together(place, options):
    with create(place, 1200, cameras=np.arange(1200) % 40) as gallery:
        gallery.build_index(options)
        gallery.add(Entries(vectors(300, seed=1), ids=names(300, 1200), cameras=np.arange(300) % 40))
        gallery.upsert(Entries(vectors(20, seed=2), ids=names(20)))
        gallery.delete(names(30, 100))
        assert gallery.stats().uncovered == 320
    with open_gallery(place) as gallery:
        assert gallery.stats().index == options.kind
        assert gallery.stats().uncovered == 320
        asked = np.concatenate([vectors(1200)[:40], vectors(300, seed=1)[:40], vectors(20, seed=2)])
        # A wide filter, one so narrow that it is answered exactly, and none.
        for filter in (None, Filter(cameras=tuple(range(20))), Filter(cameras=(7,)), Filter(source_prefix="none")):
            found, true = (gallery.search(asked, 5, filter, exact=exact) for exact in (False, True))
            shares = [len(set(a.ids) & set(b.ids)) / max(1, len(b.ids)) for a, b in zip(found, true, strict=True)]
            assert np.mean(shares) > 0.97 or not true[0].ids
            for matches in found:
                assert not set(matches.ids) & set(names(30, 100))
        assert [matches.ids[0] for matches in gallery.search(vectors(20, seed=2), 1)] == names(20)
        assert len(gallery.search(asked[:1], 2000)[0].ids) == len(gallery)  # more than an index proposes


def test_a_worse_index_has_less_recall(place):
    rows = vectors(3000) / np.linalg.norm(vectors(3000), axis=1, keepdims=True)
    with create(place, 3000) as gallery:
        found = []
        for options in (
            IndexOptions("hnsw", m=2, ef_construction=8, ef_search=1),
            IndexOptions("hnsw"),
            IndexOptions("ivf-pq", nlist=30, nprobe=1, pq_bytes=2, refine=10),
            IndexOptions("ivf-pq", nlist=30, nprobe=30, pq_bytes=8, refine=500),
        ):
            gallery.build_index(options)
            measured = measure_recall(gallery, count=100)
            # By hand: the share of the true ten, found by comparing with all.
            drawn, every = gallery.sample(100), np.array(names(3000))
            shares = []
            for entry, matches in zip(drawn, gallery.search(np.array([e.embedding for e in drawn]), 11), strict=True):
                order = np.argsort(-(rows @ entry.embedding))
                true = [name for name in every[order[:11]].tolist() if name != entry.id][:10]
                shares.append(len(set(true) & set(matches.ids)) / 10)
            assert measured.mean == pytest.approx(np.mean(shares))
            found.append(measured.mean)
    assert found[0] < 0.9 < 0.98 < found[1]
    assert found[2] < 0.9 < 0.95 < found[3]


def test_with_ivf_pq_vectors_stay_on_disk(place, monkeypatch):
    monkeypatch.setattr(vector_table, "CHUNK", 512)
    with create(place, 1500) as gallery:
        before = [matches.ids for matches in gallery.search(vectors(10, seed=3), 8)]
        gallery.build_index(IndexOptions("ivf-pq"))
        for _ in range(2):
            in_memory = [chunk is not None for chunk in gallery._state.table.chunks]
            assert in_memory == [False, False, True]  # the last has room for what comes
            assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
            gallery.close()
            gallery = open_gallery(place)
        gallery.delete(names(600))
        gallery.add(Entries(vectors(600), ids=names(600)))
        assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
        gallery.build_index(IndexOptions("exact"))
        assert all(chunk is not None for chunk in gallery._state.table.chunks)
        assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8)] == before
        assert indexes_of(place) == []
        gallery.close()


def test_how_an_index_is_searched_changes_without_building_it_again(place):
    with create(place, 2000) as gallery:
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=1))
        before, poor = indexes_of(place), measure_recall(gallery, count=100).mean
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=200))
        assert indexes_of(place) == before
        assert measure_recall(gallery, count=100).mean > poor
    with open_gallery(place) as gallery:
        assert gallery.options.ef_search == 200
        assert measure_recall(gallery, count=100).mean > poor
        gallery.add(Entries(vectors(1, seed=1)))
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=100))
        assert indexes_of(place) != before
        assert gallery.stats().uncovered == 0


@pytest.mark.parametrize("fault", ["cut", "changed", "missing", "of other entries"])
def test_an_index_that_is_not_whole_is_never_served(place, fault, monkeypatch):
    with create(place, 1000) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        true = [matches.ids for matches in gallery.search(vectors(20, seed=3), 5, exact=True)]
    (name,) = indexes_of(place)
    content = (place / name).read_bytes()
    if fault == "cut":
        (place / name).write_bytes(content[: len(content) // 2])
    elif fault == "changed":
        (place / name).write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    elif fault == "missing":
        (place / name).unlink()
    else:
        with create(place.parent / "other", 1100) as other:
            other.build_index(IndexOptions("hnsw"))
        (found,) = indexes_of(place.parent / "other")
        (place / name).write_bytes((place.parent / "other" / found).read_bytes())
    (place / ".index-dead.faiss.1.tmp.faiss").write_bytes(b"half")
    with open_gallery(place, read_only=True) as reader:
        assert reader.stats().index.startswith("exact, as the hnsw index is not served: index-")
        assert [matches.ids for matches in reader.search(vectors(20, seed=3), 5)] == true
    # Large ones are not made again while opening: it is said, and searches are exact.
    monkeypatch.setattr(faiss_gallery, "REBUILT_AT_ONCE", 10)
    with pytest.warns(UserWarning, match="hnsw index is not served"):
        gallery = open_gallery(place)
    with gallery:
        assert indexes_of(place) == []
        assert [matches.ids for matches in gallery.search(vectors(20, seed=3), 5)] == true
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_gallery(place) as gallery:
            assert gallery.stats().index == "hnsw"
            assert gallery.stats().uncovered == 0
            assert measure_recall(gallery, count=50).mean > 0.95
    assert len(indexes_of(place)) == 1


def everything(place):
    return b"".join(path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf-pq"])
def test_compaction_leaves_no_trace_of_what_was_deleted(place, kind):
    """No bytes of the vector, of its half precision, of the id, the identity, the source, in any file."""
    count = 1200
    texts = {
        "identities": [f"identity-{row:05}-" for row in range(count)],
        "sources": [f"/s/{row:05}.jpg" for row in range(count)],
    }
    with create(place, count, **texts) as gallery:
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
        content = everything(place)
        assert units[6].tobytes() in content
        assert kind != "hnsw" or all(found[2] for found in traces(content).values())  # until compaction, as docs say
        assert gallery.stats().deleted == 5
        gallery.compact()
        content = everything(place)
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
        assert indexes_of(place) == [name for name in indexes_of(place) if name.encode() in before]


def test_equal_scores_are_ordered_by_id_however_many_there_are(place):
    rows = np.repeat(vectors(3), 400, axis=0)
    shuffled = [f"{row:05}" for row in np.random.default_rng(0).permutation(1200)]
    with create(place) as gallery:
        gallery.add(Entries(rows, ids=shuffled))
        for row, query in enumerate(vectors(3)):
            alike = sorted(shuffled[400 * row : 400 * row + 400])
            for queries in (query[None], np.concatenate([query[None], vectors(30, seed=4)])):
                for k in (1, 7, 390):
                    found = gallery.search(queries, k)[0]
                    assert list(found.ids) == alike[:k]
                    assert np.ptp(found.scores) == 0


def test_readers_see_what_there_was_less_what_is_deleted(place):
    with create(place, 50) as gallery:
        with open_gallery(place, read_only=True) as reader:
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
        with open_gallery(place, read_only=True) as reader:
            assert len(reader.search(vectors(1), 100)[0].ids) == 35


def test_another_process_that_writes_is_refused_and_told_by_whom(place):
    with create(place, 5):
        script = f"from crossreid.galleries import open_gallery; open_gallery({str(place)!r})"
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        assert run.returncode == 1
        assert f"GalleryLocked: {place} is open for writing by process {os.getpid()} on " in run.stderr
    open_gallery(place).close()
    with create(place), pytest.raises(GalleryLocked):
        open_gallery(place)


def test_files_that_are_no_gallery_are_refused_by_name(place, tmp_path):
    place.mkdir()
    (place / "gallery.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(GalleryError, match="cannot be read as a gallery"):
        open_gallery(place)
    (place / "gallery.sqlite").unlink()
    with pytest.raises(GalleryError, match="holds no gallery"):
        open_gallery(place)
    (place / "something").write_text("else")
    with pytest.raises(GalleryError, match="is there already"):
        open_gallery(place, model=MODEL, dimension=4)
    with create(tmp_path / "older", 3):
        pass
    connection = sqlite3.connect(tmp_path / "older" / "gallery.sqlite")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=r"has format 1; this version reads 2\. Make it anew from its embeddings"):
        open_gallery(tmp_path / "older")
    with create(tmp_path / "hurt", 3):
        pass
    connection = sqlite3.connect(tmp_path / "hurt" / "gallery.sqlite")
    connection.execute("DELETE FROM vectors WHERE row = 2")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=r"damaged \(entries and vectors differ\)"):
        open_gallery(tmp_path / "hurt")


def test_a_disk_that_is_full_loses_nothing(place):
    with create(place, 500) as gallery:
        # SQLite's own limit of pages stands for a full disk: the same error, at the same place.
        writer = gallery._store.database._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(GalleryError, match=r"could not be written .*full.*nothing of this was kept"):
            gallery.add(Entries(vectors(4000, seed=1), ids=names(4000, 500)))
        assert len(gallery) == 500
        writer.execute("PRAGMA max_page_count=100000")
        gallery.add(Entries(vectors(4000, seed=1), ids=names(4000, 500)))
    with open_gallery(place) as gallery:
        assert len(gallery) == 4500


def test_options_of_indexes_are_checked(place):
    for options, said in (
        ({"kind": "flat"}, "expected one of exact, hnsw, ivf-pq"),
        ({"m": 1}, "m=1: expected a whole number from 2"),
        ({"nprobe": 1.5}, "nprobe=1.5"),
    ):
        with pytest.raises(ValueError, match=said):
            IndexOptions(**options)
    assert IndexOptions.from_json(IndexOptions("hnsw", m=7).to_json()) == IndexOptions("hnsw", m=7)
    with create(place, 100, index="ivf-pq") as gallery:
        with pytest.raises(ValueError, match="at least 1000 entries, found 100"):
            gallery.build_index()
        why = "IVF-PQ is learned from at least 1000 entries, found 100; use exact or hnsw"
        assert gallery.stats().index == f"exact, as the ivf-pq index is not served: {why}"
        gallery.add(Entries(vectors(1000, seed=1)))
        assert gallery.stats().index == "exact, as the ivf-pq index is not served: not built yet"
        with pytest.raises(ValueError, match="pq_bytes=5: expected a divisor of the dimension 16"):
            gallery.build_index(IndexOptions("ivf-pq", pq_bytes=5))
        told = []
        gallery.build_index(advance=lambda done, total: told.append((done, total)))
        assert told == [(1100, 1100)]


def test_an_impossible_index_never_keeps_a_gallery_shut(place):
    """Neither options of which it is known at once, nor those that turn out so with the entries."""
    with pytest.raises(ValueError, match="pq_bytes=7: expected a divisor of the dimension 16"):
        create(place, index=IndexOptions("ivf-pq", pq_bytes=7))
    assert list(place.parent.iterdir()) == []
    create(place, 1200, index=IndexOptions("ivf-pq", nlist=5000)).close()
    said = "nlist=5000: expected no more lists than entries, of which there are 1200"
    with pytest.warns(UserWarning, match=f"ivf-pq index is not served .*{said}"):
        gallery = open_gallery(place)
    with gallery:
        assert said in gallery.stats().index
        assert gallery.search(vectors(1200)[7:8], 1)[0].ids == ("00007",)
        with pytest.raises(ValueError, match=said):
            gallery.build_index()
        gallery.build_index(IndexOptions("ivf-pq", nlist=1200, nprobe=1200))
        assert gallery.stats().index == "ivf-pq"
        gallery.delete(names(1))
        with pytest.raises(ValueError, match="pq_bytes=7"):
            gallery.build_index(IndexOptions("ivf-pq", pq_bytes=7))
        assert gallery.stats().index == "ivf-pq"
    # As an earlier state of this program could leave it.
    change(place, "UPDATE meta SET value = ? WHERE key = 'index'", IndexOptions("ivf-pq", pq_bytes=7).to_json())
    change(place, "DELETE FROM meta WHERE key = 'index_file'")
    with pytest.warns(UserWarning, match="pq_bytes=7"):
        gallery = open_gallery(place)
    with gallery:
        assert "pq_bytes=7" in gallery.stats().index
        gallery.build_index(IndexOptions("hnsw"))
        assert gallery.stats().index == "hnsw"


def change(place, statement, *values):
    with closing(sqlite3.connect(place / "gallery.sqlite", isolation_level=None)) as connection:
        connection.execute(statement, values)


def test_compaction_drops_an_index_that_can_be_made_no_more(place):
    with create(place, 1100) as gallery:
        gallery.build_index(IndexOptions("ivf-pq", nlist=8, nprobe=8))
        gallery.delete(names(200))
        with pytest.warns(UserWarning, match="at least 1000 entries, found 900"):
            gallery.compact()
        for _ in range(2):
            assert indexes_of(place) == []
            assert "at least 1000 entries, found 900" in gallery.stats().index
            assert gallery.stats().deleted == 0
            assert gallery.search(vectors(1100)[700:701], 1)[0].ids == ("00700",)
            assert not set(gallery.search(vectors(1100)[:1], 900)[0].ids) & set(names(200))
            gallery.compact()
            gallery.close()
            gallery = open_gallery(place)
        gallery.close()


def test_an_index_is_built_anew_for_what_was_replaced(place):
    with create(place, 1000) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        before = indexes_of(place)
        gallery.upsert(Entries(vectors(30, seed=1), ids=names(30)))  # as many entries as before
    with open_gallery(place) as gallery:
        assert gallery.stats().uncovered == 30
        gallery.build_index(IndexOptions("hnsw", ef_search=99))
        assert indexes_of(place) != before
        assert gallery.stats().uncovered == 0
        before = indexes_of(place)
        gallery.delete(names(5))
        gallery.build_index(IndexOptions("hnsw", ef_search=98))
        assert indexes_of(place) != before


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_deleted_while_it_is_read_from_disk_is_not_found(place, exact, monkeypatch):
    monkeypatch.setattr(vector_table, "CHUNK", 512)
    asked = vectors(1500)[[3, 400]]
    with create(place, 1500) as gallery:
        gallery.build_index(IndexOptions("ivf-pq", nlist=8, nprobe=8, refine=50))
        near = [list(matches.ids) for matches in gallery.search(asked, 40, exact=True)]
        with open_gallery(place, read_only=True) as reader:
            gallery.delete(near[0] + near[1])  # all that either would look at
            for matches, gone in zip(reader.search(asked, 40, exact=exact), near, strict=True):
                assert len(matches.ids) == 40
                assert not set(matches.ids) & set(gone)
                assert np.isfinite(matches.scores).all()
        with open_gallery(place, read_only=True) as reader:
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


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("DELETE FROM meta WHERE key = 'model' OR key = ?", ""),
        ("DELETE FROM meta WHERE key = ?", "dimension"),
        ("DELETE FROM meta WHERE key = ?", "index"),
        ("DELETE FROM meta WHERE key = ?", "gallery"),
        ("UPDATE meta SET value = ? WHERE key = 'dimension'", "sixteen"),
        ("UPDATE meta SET value = ? WHERE key = 'index'", '{"kind": "hnsw", "links": 3}'),
        ("UPDATE meta SET value = ? WHERE key = 'index'", "[1]"),
        ("UPDATE meta SET value = ? WHERE key = 'index_file'", "{"),
        ("UPDATE meta SET value = ? WHERE key = 'index_file'", "{}"),
        ("UPDATE meta SET value = json_remove(value, ?) WHERE key = 'index_file'", "$.sha256"),
        ("UPDATE meta SET value = json_set(value, '$.file', ?) WHERE key = 'index_file'", "../elsewhere"),
        ("UPDATE meta SET value = json_set(value, '$.through', 1e13 + ?) WHERE key = 'index_file'", 0),
        ("UPDATE meta SET value = json_set(value, '$.through', 1000000000 + ?) WHERE key = 'index_file'", 0),
        ("DELETE FROM meta WHERE key = ?", "deleted"),
        ("UPDATE meta SET value = ? WHERE key = 'deleted'", "some"),
        ("UPDATE vectors SET embedding = ? WHERE row = 3", b"short"),
        ("UPDATE vectors SET embedding = ? WHERE row = 3", "a text instead of the bytes of it, sixteen times of four bytes..."),
        ("UPDATE vectors SET embedding = ? WHERE row = 3", b"\0" * 64),
        ("UPDATE vectors SET embedding = ? WHERE row = 3", np.full(16, np.nan, np.float32).tobytes()),
        ("UPDATE entries SET camera = ? WHERE row = 3", "north"),
        ("UPDATE entries SET camera = ? WHERE row = 3", -1),
        ("UPDATE entries SET modality = ? WHERE row = 3", 7),
        ("UPDATE entries SET added = ? WHERE row = 3", "then"),
        ("UPDATE entries SET id = ? WHERE row = 3", b"bytes"),
        ("UPDATE entries SET source = ? WHERE row = 3", b"\xff"),
        ("UPDATE entries SET time = ? WHERE row = 3", 1e18),
        ("UPDATE sqlite_sequence SET seq = ?", 5),
    ],
)  # fmt: skip
def test_a_damaged_database_is_said_to_be_one(place, statement, value):
    with create(place, 20) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
    change(place, statement, value)

    def used():
        with open_gallery(place) as gallery:
            gallery.search(vectors(1), 20)
            list(gallery.batches())
            gallery.stats()
            gallery.add(Entries(vectors(3, seed=1)))

    with pytest.raises(GalleryFault, match=r"gallery.sqlite is damaged \(.*\); restore it from a snapshot"):
        used()


def test_a_null_where_there_is_none_is_damage(place):
    create(place, 20).close()
    with closing(sqlite3.connect(place / "gallery.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL', 'BLOB')")
    change(place, "UPDATE vectors SET embedding = NULL WHERE row = 3")
    with pytest.raises(GalleryFault, match="is damaged"):
        open_gallery(place)


READ_ONLY = """
import os, sys, warnings
import numpy as np
import crossreid.galleries.recall, crossreid.galleries.local.faiss_gallery, faiss, sqlite3, tempfile
from crossreid.galleries import open_gallery, GalleryError
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)  # whom the folder's permissions hold
for name in sys.argv[1:]:
    try:
        with open_gallery(name, read_only=True) as gallery:
            assert len(gallery.search(np.ones((1, 16)), 3)[0].ids) == 3
            print(gallery.stats().entries)
    except GalleryError as error:
        print(error)
try:
    open_gallery(sys.argv[1])
except GalleryError as error:
    print(error)
"""


def test_a_medium_that_cannot_be_written(place):
    """A folder that this process may not write in: no lock, no file beside the database."""
    with tempfile.TemporaryDirectory() as outer:  # where another user may come
        os.chmod(outer, 0o755)
        closed, open_, torn = (Path(outer) / name for name in ("closed", "open", "torn"))
        create(closed, 50, index="hnsw").close()
        with create(open_, 50) as gallery:
            gallery.delete(names(1))
            shutil.copytree(open_, torn)
            (torn / "gallery.sqlite-shm").unlink()
            for folder in (closed, open_, torn):
                for path in folder.iterdir():
                    path.chmod(0o644)
                folder.chmod(0o555)
            run = subprocess.run(
                [sys.executable, "-c", READ_ONLY, closed, open_, torn], capture_output=True, text=True, timeout=120
            )
        for folder in (closed, open_, torn):
            folder.chmod(0o755)
        assert run.returncode == 0, run.stderr
        first, second, third, fourth = run.stdout.splitlines()
        assert (first, second) == ("50", "49")
        assert third.startswith(
            f"{torn} cannot be written, and gallery.sqlite-wal holds what is not in gallery.sqlite yet"
        )
        assert fourth.startswith(f"{closed} cannot be written (Permission denied)")


def test_only_what_processes_left_that_are_gone_is_removed(place, tmp_path):
    script = (
        "import os, sys, signal; from crossreid.galleries import open_gallery, unfinished_folders; "
        "unfinished_folders.publish = lambda *a: os.kill(os.getpid(), signal.SIGKILL); "
        "gallery = open_gallery(sys.argv[1], read_only=True); gallery.snapshot(sys.argv[2])"
    )

    def left(folder):
        return [path for path in folder.iterdir() if path.name.startswith(".")]

    def killed(snapshot):
        subprocess.run([sys.executable, "-c", script, place, snapshot], timeout=120)
        (copy,) = left(snapshot.parent)
        assert (copy / "gallery.sqlite").stat().st_size > 16 * 4 * 500
        return copy

    def compacted():
        with open_gallery(place) as gallery:
            killed(tmp_path / "copy")
            gallery.compact()

    def snapshot():
        with open_gallery(place, read_only=True) as gallery:
            gallery.snapshot(tmp_path / "copy")

    create(place, 500).close()
    for call in (lambda: open_gallery(place).close(), compacted, snapshot):
        if call is not compacted:
            killed(tmp_path / "copy")
        call()
        assert left(tmp_path) == []
    assert len(open_gallery(tmp_path / "copy", read_only=True)) == 500
    (tmp_path / ".people.mine").mkdir()
    with unfinished_folders.unfinished(tmp_path / "other") as writing:
        open_gallery(place).close()
        assert sorted(left(tmp_path)) == sorted([writing, tmp_path / ".people.mine"])
    assert left(tmp_path) == [tmp_path / ".people.mine"]


def test_files_that_go_while_they_are_counted(place, monkeypatch):
    with create(place, 500) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        (place / "index-other.faiss").write_bytes(b"x")
        stat, seen = os.stat, []

        def looked_at(path, *arguments, **options):
            """One file goes when it has been looked at once, another just before."""
            name = os.path.basename(path) if isinstance(path, str | Path) else ""
            if name == "index-other.faiss":
                (place / name).unlink(missing_ok=True)
            found = stat(path, *arguments, **options)
            if name.startswith("index-") and not seen:
                seen.append(name)
                (place / name).unlink()
            return found

        monkeypatch.setattr(os, "stat", looked_at)
        assert gallery.stats().bytes > 500 * 4 * DIMENSION
        assert seen
        assert indexes_of(place) == []


def test_a_write_that_is_interrupted_leaves_a_build_alone(place, monkeypatch):
    gallery = create(place, 500)
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
    with open_gallery(place) as gallery:
        assert gallery.stats().index == "hnsw"
        assert gallery.stats().uncovered == 3


def test_retention_does_not_read_every_entry(place):
    """A million entries by the minute: the database would be read from end to end, memory is there already."""
    with create(place, 300, times=np.arange(300.0), cameras=np.arange(300) % 3) as gallery:
        asked = []
        gallery._store.database._reader.set_trace_callback(asked.append)
        assert gallery.delete(filter=Filter(until=0.0)) == 0
        assert gallery.delete(filter=Filter(added_until=5.0)) == 0
        assert gallery.delete(filter=Filter(until=30.0, cameras=(1,))) == 10
        assert [text for text in asked if "entries" in text] == []
    with open_gallery(place) as gallery:
        assert len(gallery) == 290
        assert gallery.get(names(4)) != [None] * 4
        assert gallery.get(["00001", "00004"]) == [None, None]


def test_importing_the_package_imports_neither_faiss_nor_torch():
    script = (
        "import sys, json, crossreid, crossreid.galleries; first = [m in sys.modules for m in ('faiss', 'torch', 'pymilvus')]; "
        "crossreid.galleries.open_gallery; import crossreid.galleries.local.faiss_gallery; "
        "print(json.dumps([first, 'torch' in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(run.stdout) == [[False] * 3, False]
    assert Path(faiss_gallery.__file__).is_file()
