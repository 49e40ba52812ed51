"""The index of a gallery in process: made, kept as a file, served only while it is whole, made again."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from crossreid.galleries import (
    Entries,
    Filter,
    IndexOptions,
    measure_recall,
    open_gallery,
)
from crossreid.galleries.local import faiss_gallery, vector_table
from local_gallery import DIMENSION, change, create, indexes_of, names, vectors


@pytest.mark.parametrize(
    "options",
    [IndexOptions("hnsw"), IndexOptions("ivf-pq", nlist=8, nprobe=8, refine=400)],
    ids=lambda options: options.kind,
)
def test_an_index_and_what_came_after_it_are_searched_together(location, options):
    with create(location, 1200, cameras=np.arange(1200) % 40) as gallery:
        gallery.build_index(options)
        gallery.add(Entries(vectors(300, seed=1), ids=names(300, 1200), cameras=np.arange(300) % 40))
        gallery.upsert(Entries(vectors(20, seed=2), ids=names(20)))
        gallery.delete(names(30, 100))
        assert gallery.stats().uncovered == 320
    with open_gallery(location) as gallery:
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


def test_a_worse_index_has_less_recall(location):
    rows = vectors(3000) / np.linalg.norm(vectors(3000), axis=1, keepdims=True)
    with create(location, 3000) as gallery:
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


def test_with_ivf_pq_vectors_stay_on_disk(location, monkeypatch):
    monkeypatch.setattr(vector_table, "CHUNK", 512)
    with create(location, 1500) as gallery:
        before = [matches.ids for matches in gallery.search(vectors(10, seed=3), 8)]
        gallery.build_index(IndexOptions("ivf-pq"))
        for _ in range(2):
            in_memory = [chunk is not None for chunk in gallery._state.table.chunks]
            assert in_memory == [False, False, True]  # the last has room for what comes
            assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
            gallery.close()
            gallery = open_gallery(location)
        gallery.delete(names(600))
        gallery.add(Entries(vectors(600), ids=names(600)))
        assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8, exact=True)] == before
        gallery.build_index(IndexOptions("exact"))
        assert all(chunk is not None for chunk in gallery._state.table.chunks)
        assert [matches.ids for matches in gallery.search(vectors(10, seed=3), 8)] == before
        assert indexes_of(location) == []
        gallery.close()


def test_how_an_index_is_searched_changes_without_building_it_again(location):
    with create(location, 2000) as gallery:
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=1))
        before, poor = indexes_of(location), measure_recall(gallery, count=100).mean
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=200))
        assert indexes_of(location) == before
        assert measure_recall(gallery, count=100).mean > poor
    with open_gallery(location) as gallery:
        assert gallery.options.ef_search == 200
        assert measure_recall(gallery, count=100).mean > poor
        gallery.add(Entries(vectors(1, seed=1)))
        gallery.build_index(IndexOptions("hnsw", m=4, ef_search=100))
        assert indexes_of(location) != before
        assert gallery.stats().uncovered == 0


@pytest.mark.parametrize("fault", ["cut", "changed", "missing", "of other entries"])
def test_an_index_that_is_not_whole_is_never_served(location, fault, monkeypatch):
    with create(location, 1000) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        true = [matches.ids for matches in gallery.search(vectors(20, seed=3), 5, exact=True)]
    (name,) = indexes_of(location)
    content = (location / name).read_bytes()
    if fault == "cut":
        (location / name).write_bytes(content[: len(content) // 2])
    elif fault == "changed":
        (location / name).write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    elif fault == "missing":
        (location / name).unlink()
    else:
        with create(location.parent / "other", 1100) as other:
            other.build_index(IndexOptions("hnsw"))
        (found,) = indexes_of(location.parent / "other")
        (location / name).write_bytes((location.parent / "other" / found).read_bytes())
    (location / ".index-dead.faiss.1.tmp.faiss").write_bytes(b"half")
    with open_gallery(location, read_only=True) as reader:
        assert reader.stats().index.startswith("exact, as the hnsw index is not used: index-")
        assert [matches.ids for matches in reader.search(vectors(20, seed=3), 5)] == true
    # Large ones are not made again while opening: it is said, and searches are exact.
    monkeypatch.setattr(faiss_gallery, "REBUILT_AT_ONCE", 10)
    with pytest.warns(UserWarning, match="hnsw index is not used"):
        gallery = open_gallery(location)
    with gallery:
        assert indexes_of(location) == []
        assert [matches.ids for matches in gallery.search(vectors(20, seed=3), 5)] == true
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_gallery(location) as gallery:
            assert gallery.stats().index == "hnsw"
            assert gallery.stats().uncovered == 0
            assert measure_recall(gallery, count=50).mean > 0.95
    assert len(indexes_of(location)) == 1


def test_an_impossible_index_never_keeps_a_gallery_shut(location):
    """Neither options of which it is known at once, nor those that turn out so with the entries."""
    with pytest.raises(ValueError, match="pq_bytes=7: expected a divisor of the dimension 16"):
        create(location, index=IndexOptions("ivf-pq", pq_bytes=7))
    assert list(location.parent.iterdir()) == []
    create(location, 1200, index=IndexOptions("ivf-pq", nlist=5000)).close()
    said = "nlist=5000: expected no more lists than the 1200 entries"
    with pytest.warns(UserWarning, match=f"ivf-pq index is not used .*{said}"):
        gallery = open_gallery(location)
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
    change(location, "UPDATE meta SET value = ? WHERE key = 'index'", IndexOptions("ivf-pq", pq_bytes=7).to_json())
    change(location, "DELETE FROM meta WHERE key = 'index_file'")
    with pytest.warns(UserWarning, match="pq_bytes=7"):
        gallery = open_gallery(location)
    with gallery:
        assert "pq_bytes=7" in gallery.stats().index
        gallery.build_index(IndexOptions("hnsw"))
        assert gallery.stats().index == "hnsw"


def test_compaction_drops_an_index_that_can_be_made_no_more(location):
    with create(location, 1100) as gallery:
        gallery.build_index(IndexOptions("ivf-pq", nlist=8, nprobe=8))
        gallery.delete(names(200))
        with pytest.warns(UserWarning, match="at least 1000 entries to learn from, found 900"):
            gallery.compact()
        for _ in range(2):
            assert indexes_of(location) == []
            assert "at least 1000 entries to learn from, found 900" in gallery.stats().index
            assert gallery.stats().deleted == 0
            assert gallery.search(vectors(1100)[700:701], 1)[0].ids == ("00700",)
            assert not set(gallery.search(vectors(1100)[:1], 900)[0].ids) & set(names(200))
            gallery.compact()
            gallery.close()
            gallery = open_gallery(location)
        gallery.close()


def test_an_index_is_built_anew_for_what_was_replaced(location):
    with create(location, 1000) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        before = indexes_of(location)
        gallery.upsert(Entries(vectors(30, seed=1), ids=names(30)))  # as many entries as before
    with open_gallery(location) as gallery:
        assert gallery.stats().uncovered == 30
        gallery.build_index(IndexOptions("hnsw", ef_search=99))
        assert indexes_of(location) != before
        assert gallery.stats().uncovered == 0
        before = indexes_of(location)
        gallery.delete(names(5))
        gallery.build_index(IndexOptions("hnsw", ef_search=98))
        assert indexes_of(location) != before


def test_files_that_go_while_they_are_counted(location, monkeypatch):
    with create(location, 500) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
        (location / "index-other.faiss").write_bytes(b"x")
        stat, seen = os.stat, []

        def looked_at(path, *arguments, **options):
            """One file goes when it has been looked at once, another just before."""
            name = os.path.basename(path) if isinstance(path, str | Path) else ""
            if name == "index-other.faiss":
                (location / name).unlink(missing_ok=True)
            found = stat(path, *arguments, **options)
            if name.startswith("index-") and not seen:
                seen.append(name)
                (location / name).unlink()
            return found

        monkeypatch.setattr(os, "stat", looked_at)
        assert gallery.stats().bytes > 500 * 4 * DIMENSION
        assert seen
        assert indexes_of(location) == []
