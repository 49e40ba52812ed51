"""One gallery of a Milvus by its address, opened several times as by several processes: Milvus Lite's server behind it."""

import threading
from functools import partial

import numpy as np
import pytest

from crossreid.galleries import Entries, Entry, GalleryError, IndexOptions, open_gallery
from crossreid.galleries.errors import EntryExists
from crossreid.galleries.milvus import about, milvus_gallery
from opened_gallery import DIMENSION, MODEL, vectors


@pytest.fixture
def twice(address, tmp_path):
    options = {"model": MODEL, "dimension": DIMENSION, "collection": f"s{abs(hash(tmp_path))}"}
    with open_gallery(address, **options) as one, open_gallery(address, **options) as other:
        yield one, other


def at_once(*calls):
    """What each call returned or raised, all of them begun together."""
    barrier, found = threading.Barrier(len(calls)), [None] * len(calls)

    def run(at, call):
        barrier.wait()
        try:
            found[at] = call()
        except Exception as error:
            found[at] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_of_processes_that_find_no_gallery_one_creates_it(address, tmp_path):
    options = {"model": MODEL, "dimension": DIMENSION, "collection": f"c{abs(hash(tmp_path))}"}
    found = at_once(*[lambda: open_gallery(address, **options)] * 4)
    assert not [each for each in found if isinstance(each, Exception)]
    assert len({gallery.uuid for gallery in found}) == 1
    for number, gallery in enumerate(found):
        gallery.add([Entry(np.ones(DIMENSION), f"of {number}")])
    assert [len(gallery) for gallery in found] == [4] * 4
    assert found[0]._about._claims() == []
    for gallery in found:
        gallery.close()


def test_what_a_process_left_that_died_as_it_created_a_gallery_holds_up_nobody_for_long(address, tmp_path, monkeypatch):
    monkeypatch.setattr(about, "_GONE", 0.5)
    options = {"model": MODEL, "dimension": DIMENSION, "collection": f"d{abs(hash(tmp_path))}"}
    with open_gallery(address, **options) as gallery:
        gallery._about._write_row("claim of one that died", "")
        gallery._about._remove(["about"])
    with open_gallery(address, **options) as gallery:
        assert gallery._about._claims() == []
        assert len(gallery) == 0


def test_what_one_was_told_is_kept_the_other_finds_at_once(twice):
    for number, row in enumerate(vectors(20)):
        writes, reads = twice[number % 2], twice[1 - number % 2]
        writes.add([Entry(row, f"{number}")])
        assert reads.search(row[None], 1)[0].ids == (f"{number}",)
        assert reads.known([f"{number}"]) == [f"{number}"]
        writes.delete([f"{number}"])
        assert reads.search(row[None], 1)[0].ids == ()


def test_of_an_id_that_both_add_at_once_there_is_one_entry(twice):
    for number in range(10):
        rows = vectors(2, seed=number)
        entries = [[Entry(row, f"same {number}")] for row in rows]
        found = at_once(*[partial(g.add, one) for g, one in zip(twice, entries, strict=True)])
        assert [f"same {number}"] in found
        assert all(each == [f"same {number}"] or isinstance(each, EntryExists) for each in found), found
        assert len(twice[0]) == number + 1
        kept = [matches.ids.count(f"same {number}") for matches in twice[1].search(rows, 100)]
        assert kept == [1, 1]


def test_replacing_and_deleting_while_others_search_gives_whole_answers(twice):
    one, other = twice
    ids = [f"{number}" for number in range(30)]
    one.add(Entries(vectors(30), ids=ids))

    def writing():
        for turn in range(15):
            one.upsert(Entries(vectors(10, seed=turn), ids=ids[:10]))
            one.delete([f"{10 + turn}"])

    def searching():
        return [[matches.ids for matches in other.search(vectors(3, seed=9), 30)] for _ in range(15)]

    wrote, found = at_once(writing, searching)
    assert wrote is None
    for answers in found:
        for ids_of in answers:
            assert len(set(ids_of)) == len(ids_of)
            assert set(ids[25:]) <= set(ids_of)
    assert len(other) == 15


def test_an_index_that_another_built_is_known_after_a_while(twice, monkeypatch):
    monkeypatch.setattr(milvus_gallery, "_LEARN", 0.0)
    one, other = twice
    one.add(Entries(vectors(30), ids=[f"{number}" for number in range(30)]))
    one.build_index(IndexOptions("hnsw"))
    assert other.search(vectors(30)[4:5], 1)[0].ids == ("4",)
    assert other.options.kind == "hnsw"


def test_consistency_is_a_clusters_choice(address, tmp_path):
    options = {"model": MODEL, "dimension": DIMENSION, "collection": f"l{abs(hash(tmp_path))}"}
    for level in ("strong", "bounded", "eventually"):
        with open_gallery(address, consistency=level, **options) as gallery:
            gallery.upsert([Entry(np.ones(DIMENSION), "a")])
            assert gallery.search(np.ones((1, DIMENSION)), 1)[0].ids == ("a",)
    with pytest.raises(GalleryError, match="expected strong, bounded, eventually"):
        open_gallery(address, consistency="weak", **options)
    with pytest.raises(GalleryError, match="only a cluster has other levels"):
        open_gallery(tmp_path / "gallery", model=MODEL, dimension=DIMENSION, consistency="bounded")
