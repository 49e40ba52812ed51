"""The gallery in process: its files, its indexes, what deleting removes, and who may open it."""

import json
import os
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from crossreid.search import (
    Batch,
    Entry,
    Filter,
    GalleryError,
    GalleryLocked,
    IndexOptions,
    faiss_gallery,
    measure_recall,
    open_gallery,
    table,
)

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
        gallery.add(Batch(vectors(count), ids=names(count), **more))
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
        gallery.add(Batch(vectors(300, seed=1), ids=names(300, 1200), cameras=np.arange(300) % 40))
        gallery.upsert(Batch(vectors(20, seed=2), ids=names(20)))
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
    monkeypatch.setattr(table, "CHUNK", 512)
    with create(place, 1500) as gallery:
        before = [matches.ids for matches in gallery.search(vectors(10, seed=3), 8)]
        gallery.build_index(IndexOptions("ivf-pq"))
        for _ in range(2):
            in_memory = [chunk is not None for chunk in gallery._state.view.chunks]
            assert in_memory == [False, False, True]  # the last has room for what comes
            assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
            gallery.close()
            gallery = open_gallery(place)
        gallery.delete(names(600))
        gallery.add(Batch(vectors(600), ids=names(600)))
        assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
        gallery.build_index(IndexOptions("exact"))
        assert all(chunk is not None for chunk in gallery._state.view.chunks)
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
        gallery.add(Batch(vectors(1, seed=1)))
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
    (place / "index-dead.faiss.tmp").write_bytes(b"half")
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
        gallery.add(Batch(rows, ids=shuffled))
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
            gallery.add(Batch(vectors(5, seed=1), ids=names(5, 50)))
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
        script = f"from crossreid.search import open_gallery; open_gallery({str(place)!r})"
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
    with pytest.raises(GalleryError, match="damaged: entries and vectors differ"):
        open_gallery(tmp_path / "hurt")


def test_a_disk_that_is_full_loses_nothing(place):
    with create(place, 500) as gallery:
        # SQLite's own limit of pages stands for a full disk: the same error, at the same place.
        writer = gallery._store._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(GalleryError, match=r"could not be written .*full.*nothing of this was kept"):
            gallery.add(Batch(vectors(4000, seed=1), ids=names(4000, 500)))
        assert len(gallery) == 500
        writer.execute("PRAGMA max_page_count=100000")
        gallery.add(Batch(vectors(4000, seed=1), ids=names(4000, 500)))
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
        assert gallery.stats().index == "exact, as the ivf-pq index is not served: not built yet"
        gallery.add(Batch(vectors(1000, seed=1)))
        with pytest.raises(ValueError, match="pq_bytes=5: expected a divisor of the dimension 16"):
            gallery.build_index(IndexOptions("ivf-pq", pq_bytes=5))
        told = []
        gallery.build_index(advance=lambda done, total: told.append((done, total)))
        assert told == [(1100, 1100)]


def test_importing_the_package_imports_neither_faiss_nor_torch():
    script = (
        "import sys, json, crossreid, crossreid.search; first = [m in sys.modules for m in ('faiss', 'torch', 'pymilvus')]; "
        "crossreid.search.open_gallery; import crossreid.search.faiss_gallery; "
        "print(json.dumps([first, 'torch' in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(run.stdout) == [[False] * 3, False]
    assert Path(faiss_gallery.__file__).is_file()
