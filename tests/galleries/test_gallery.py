"""The contract of a gallery, on every backend."""

import threading
import time

import numpy as np
import pytest

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.galleries import (
    Entries,
    Entry,
    Filter,
    GalleryError,
    IndexOptions,
    ModelMismatch,
    measure_recall,
    open_gallery,
    restore,
)
from opened_gallery import DIMENSION, MODEL, vectors
from plain_gallery import PlainGallery

NASTY = [
    'a"b', "a'b", "a\\", 'a\\"', "a%b", "a_b", "axb", "A%B", "ü€😀", "x\ny\t\r", '" or id != "', "' or 1=1 --", "\x01", "[]",
    "a\U0010ffff", "identity", "$meta", "{a}", "%", "null",
]  # fmt: skip


def filled(gallery, count=60):
    """Entries of every kind, added in three parts at 100, 200 and 300, and the same in a dictionary."""
    plain = PlainGallery()
    rows = vectors(count)
    rows[count // 2 :] = rows[: count - count // 2]  # every embedding twice: ties
    for row in range(count):
        plain.entries[f"e{(7 * row) % count:02}"] = (
            rows[row],
            None if row % 5 == 0 else f"p{row % 6}",
            row % 4,
            INFRARED if row % 3 == 0 else VISIBLE,
            None if row % 7 == 0 else 1.7e9 + row / 3,
            f"{'cam' if row % 2 else 'CAM'}/{row % 9}.jpg",
            100.0 * (1 + 3 * row // count),
        )
    for now in (100.0, 200.0, 300.0):
        gallery.clock = lambda now=now: now
        own = [entry for entry in entries_of(plain) if plain.entries[entry.id][-1] == now]
        assert gallery.add(own) == [entry.id for entry in own]
    return plain


def entries_of(plain):
    return [
        Entry(embedding, name, identity, camera, modality, time, source)
        for name, (embedding, identity, camera, modality, time, source, _) in plain.entries.items()
    ]


def same(gallery, plain, queries, k, **conditions):
    """Whether the gallery finds what the dictionary does."""
    found = gallery.search(np.array(queries), k, Filter(**conditions) if conditions else None)
    for query, matches in zip(queries, found, strict=True):
        expected = plain.search(query, k, **conditions)
        assert list(matches.ids) == [name for name, _ in expected]
        np.testing.assert_allclose(matches.scores, [score for _, score in expected], atol=1e-6)
        for entry in matches.entries:
            assert entry.embedding is None
            assert what_is_known(entry) == plain.entries[entry.id][1:]


def what_is_known(entry):
    return (entry.identity, entry.camera, entry.modality, entry.time, entry.source, entry.added)


FILTERS = [
    {}, {"identity": "p1"}, {"cameras": (1, 3)}, {"modality": INFRARED}, {"since": 1.7e9 + 5}, {"until": 1.7e9 + 5},
    {"since": 1.7e9 + 2, "until": 1.7e9 + 9}, {"source": "cam/1.jpg"}, {"source_prefix": "cam/"}, {"source_prefix": "CAM"},
    {"identity": "p2", "cameras": (0, 2), "modality": VISIBLE}, {"identity": "nobody"}, {"source_prefix": "cam/_"},
    {"identity": "p4", "source_prefix": "CAM/", "since": 1.7e9 + 1}, {"added_until": 200.0}, {"added_until": 200.5},
    {"added_until": 300.0, "since": 1.7e9 + 5, "source_prefix": "cam/"}, {"added_until": 100.0},
]  # fmt: skip


def test_searches_find_what_the_definition_does(opened):
    gallery = opened()
    plain = filled(gallery)
    queries = [*vectors(3, seed=1), *(plain.entries[name][0] for name in ("e00", "e07"))]
    for conditions in FILTERS:
        for k in (1, 4, 100):
            same(gallery, plain, queries, k, **conditions)
    # One query or many at once, and after opening again: the same.
    together = gallery.search(np.array(queries), 5)
    assert [one.ids for one in together] == [gallery.search(query[None], 5)[0].ids for query in queries]
    gallery = opened()
    assert [one.ids for one in gallery.search(np.array(queries), 5)] == [one.ids for one in together]
    assert len(gallery) == 60
    assert gallery.search(np.empty((0, DIMENSION)), 5) == []


def test_what_is_written_is_there_after_opening_again(opened):
    gallery = opened()
    plain = filled(gallery)
    with pytest.raises(GalleryError, match="the id 'e07' and 1 more is already in the gallery; nothing was added"):
        gallery.add(Entries(vectors(3), ids=["new", "e07", "e00"]))
    assert gallery.get(["new"]) == [None]
    gallery.clock = lambda: 400.0
    changed = (vectors(1, seed=5)[0], "changed", 9, INFRARED, 3.5, "elsewhere", 400.0)
    plain.entries["e07"] = plain.entries["new"] = changed
    gallery.upsert([Entry(changed[0], name, *changed[1:-1]) for name in ("e07", "new")])
    assert gallery.delete(["e01", "e02", "unknown", "e01"]) == 2
    for name in plain.matching(cameras=(2,), modality=VISIBLE):
        del plain.entries[name]
    for name in ("e01", "e02"):
        plain.entries.pop(name, None)
    gallery.delete(filter=Filter(cameras=(2,), modality=VISIBLE))
    for again in range(2):
        gallery = opened() if again else gallery
        assert len(gallery) == len(plain.entries)
        same(gallery, plain, vectors(4, seed=1), 70)
        for name, entry in zip(plain.entries, gallery.get(list(plain.entries)), strict=True):
            assert entry.id == name
            assert what_is_known(entry) == plain.entries[name][1:]
            unit = plain.entries[name][0] / np.linalg.norm(plain.entries[name][0])
            np.testing.assert_allclose(entry.embedding, unit, atol=1e-6)
        assert sorted(name for batch in gallery.batches(7) for name in batch.ids) == sorted(plain.entries)
    gallery.compact()
    same(gallery, plain, vectors(4, seed=1), 70)
    told = gallery.stats()
    assert (told.entries, told.model, told.dimension, told.index) == (len(plain.entries), MODEL, DIMENSION, "exact")
    if opened.backend != "milvus":
        cameras = [entry[2] for entry in plain.entries.values()]
        assert told.cameras == {camera: cameras.count(camera) for camera in cameras}
        assert sum(told.modalities.values()) == len(cameras)
        assert told.bytes > 4 * DIMENSION * len(cameras)


def test_a_gallery_says_when_entries_were_added(opened):
    gallery = opened()
    before = time.time()
    forged = Entry(vectors(1)[0], "a", time=before - 9, added=before - 9)
    gallery.add([forged, Entry(vectors(1, seed=1)[0], "b")])
    after = time.time()
    first = {entry.id: entry.added for entry in gallery.get(["a", "b"])}
    assert before <= first["a"] == first["b"] <= after, "what a caller says counts for nothing"
    gallery.upsert(gallery.get(["a"]))  # and what was given back before neither
    gallery = opened()
    (again,) = gallery.get(["a"])
    assert after <= again.added <= time.time()
    assert [entry.added for entry in gallery.search(vectors(1), 1)[0].entries] == [again.added]
    assert {entry.id: entry.added for entry in gallery.sample(5)} == {"a": again.added, "b": first["b"]}
    batch = Entries(vectors(1, seed=2), ids=["c"])
    for now in (1.0, 2.0):  # a batch that is added twice is not of the first time
        gallery.clock = lambda now=now: now
        gallery.upsert(batch)
        assert gallery.get(["c"])[0].added == now
    assert gallery.delete(filter=Filter(added_until=2.0)) == 0
    # Retention: entries without a time of their own, too.
    assert gallery.delete(filter=Filter(added_until=again.added, source_prefix="x")) == 0
    assert gallery.delete(filter=Filter(added_until=again.added)) == 2
    assert [entry.id for entry in gallery.sample(5)] == ["a"]


def test_any_text_is_an_id_an_identity_and_a_source(opened):
    gallery = opened()
    plain = PlainGallery()
    for row, text in enumerate(NASTY):
        plain.entries[text] = (vectors(len(NASTY))[row], text, 0, VISIBLE, None, text, 5.0)
    gallery.clock = lambda: 5.0
    gallery.add(entries_of(plain))
    for text in NASTY:
        assert [entry.id for entry in gallery.get([text])] == [text]
        for conditions in ({"identity": text}, {"source": text}, {"source_prefix": text}, {"source_prefix": text[:1]}):
            same(gallery, plain, vectors(1, seed=1), 50, **conditions)
    assert gallery.delete(filter=Filter(source='" or id != "')) == 1
    assert gallery.delete(filter=Filter(source_prefix="a%")) == 1
    assert gallery.delete(NASTY[:3]) == 3
    assert len(gallery) == len(NASTY) - 5
    gallery = opened()
    assert sorted(name for batch in gallery.batches(3) for name in batch.ids) == sorted(
        text for text in NASTY[3:] if text not in ('" or id != "', "a%b")
    )


def test_models_are_not_mixed(opened):
    gallery = opened()
    gallery.add(Entries(vectors(2), ids=["a", "b"]), model=MODEL)
    for call in (gallery.add, gallery.upsert, gallery.search):
        with pytest.raises(ModelMismatch, match=f"{MODEL}.*model other"):
            call(vectors(1) if call == gallery.search else [Entry(vectors(1)[0], "c")], model="other")
    assert len(gallery) == 2
    gallery.close()
    with pytest.raises(ModelMismatch, match=f"holds embeddings of model {MODEL}.*for model other"):
        opened(model="other")
    with pytest.raises(GalleryError, match=f"{DIMENSION} dimensions, but was to be opened for 9"):
        opened(dimension=9)
    with pytest.raises(GalleryError, match="already is a gallery"):
        opened(create=True)
    assert len(opened(model=None, dimension=None)) == 2


def test_what_cannot_be_done_is_refused_and_changes_nothing(opened):
    with pytest.raises(GalleryError, match="holds no gallery"):
        opened(create=False)
    with pytest.raises(GalleryError, match="holds no gallery"):
        opened(dimension=None)
    gallery = opened()
    gallery.add(Entries(vectors(2), ids=["a", "b"]))
    for call, said in (
        (lambda: gallery.add([Entry(np.ones(3), "c")]), "expected 8 dimensions as in the gallery, found 3"),
        (lambda: gallery.add([Entry(np.full(DIMENSION, np.nan), "c")]), "row 0 is NaN"),
        (lambda: gallery.search(np.ones((1, 3))), "expected 8 dimensions"),
        (lambda: gallery.search(np.ones(DIMENSION)), r"expected an array \(N, D\)"),
        (lambda: gallery.search(np.zeros((1, DIMENSION))), "all zeros"),
        (lambda: gallery.search(vectors(1), 0), "expected k of at least 1, found 0"),
        (lambda: gallery.delete(), "expected either ids or a filter"),
        (lambda: gallery.delete("a"), "expected a list of ids"),
        (lambda: gallery.delete(filter=Filter()), "the filter is empty"),
        (lambda: gallery.delete(filter=Filter(source_prefix="")), "the filter is empty"),
    ):
        with pytest.raises((GalleryError, DataError), match=said):
            call()
    assert gallery.add([]) == []
    assert gallery.delete([]) == 0
    assert len(gallery) == 2
    gallery.close()
    gallery.close()
    for call in (
        lambda: gallery.search(vectors(1)),
        lambda: gallery.add([Entry(vectors(1)[0])]),
        lambda: gallery.get(["a"]),
    ):
        with pytest.raises(GalleryError, match="is closed"):
            call()


def test_ids_that_can_be_none_are_refused_wherever_they_are_asked_for(opened):
    gallery = opened()
    gallery.add(Entries(vectors(2), ids=["a", "b"]))
    assert gallery.known(["b", "c", "a", "b"]) == ["b", "a", "b"]
    for call in (gallery.get, gallery.delete, gallery.known):
        for ids, said in (
            ([7], "id: expected text, found int"),
            (["a", "b\0"], "NUL"),
            (["\ud800"], "not valid Unicode"),
            (["x" * 513], "513 bytes"),
            ("a", "expected a list of ids, found the text 'a'"),
        ):
            with pytest.raises((DataError, GalleryError), match=said):
                call(ids)
    assert len(gallery) == 2


def test_a_filter_that_leaves_few_is_answered_exactly_by_every_index(opened):
    if opened.backend == "milvus":
        pytest.skip("a cluster decides by itself")
    gallery = opened()
    gallery.add(Entries(vectors(900), ids=[f"{row:03}" for row in range(900)], cameras=np.arange(900) % 2))
    gallery.compact()  # Milvus Lite indexes what it has flushed
    gallery.build_index(IndexOptions("hnsw", m=2, ef_construction=8, ef_search=1))
    asked = vectors(25, seed=1)
    wide, true = (gallery.search(asked, 10, exact=exact) for exact in (False, True))
    assert [one.ids for one in wide] != [one.ids for one in true], "this index finds everything, and shows nothing"
    found, true = (gallery.search(asked, 10, Filter(cameras=(1,)), exact=exact) for exact in (False, True))
    assert [one.ids for one in found] == [one.ids for one in true]
    rows = vectors(900) / np.linalg.norm(vectors(900), axis=1, keepdims=True)
    for query, matches in zip(asked, found, strict=True):
        products = np.where(np.arange(900) % 2, rows @ query, -np.inf)
        assert list(matches.ids) == [f"{row:03}" for row in np.argsort(-products)[:10]]


def test_an_empty_gallery_finds_nothing(opened):
    gallery = opened()
    assert gallery.search(vectors(2), 3)[1].ids == ()
    assert gallery.get(["a"]) == [None]
    assert list(gallery.batches()) == []
    gallery.compact()
    assert gallery.stats().entries == len(gallery) == 0
    with pytest.raises(GalleryError, match="too few entries"):
        measure_recall(gallery)


def test_an_index_is_measured_against_the_truth(opened):
    gallery = opened()
    gallery.add(Entries(vectors(1500), ids=[f"{row:04}" for row in range(1500)], cameras=np.arange(1500) % 3))
    truth = measure_recall(gallery, count=20)
    assert (truth.mean, truth.worst, truth.queries, truth.k) == (1.0, 1.0, 20, 10)
    gallery.build_index(IndexOptions("hnsw", m=16, ef_construction=80, ef_search=80))
    assert measure_recall(gallery, count=50).mean > 0.98
    assert gallery.stats().index == "hnsw"
    gallery = opened()
    assert gallery.stats().index == "hnsw"
    for filter in (None, Filter(cameras=(1,))):
        found = gallery.search(vectors(1500)[:8], 3, filter)
        true = gallery.search(vectors(1500)[:8], 3, filter, exact=True)
        assert np.mean([len(set(a.ids) & set(b.ids)) for a, b in zip(found, true, strict=True)]) > 2.8
    gallery.add(Entries(vectors(1, seed=9), ids=["new"]))
    gallery.delete(["0003"])
    assert gallery.search(vectors(1, seed=9), 1)[0].ids == ("new",)
    assert "0003" not in gallery.search(vectors(1500)[3:4], 50)[0].ids
    gallery.build_index(IndexOptions("exact"))
    assert measure_recall(gallery, count=20).mean == 1.0


def test_snapshots_are_galleries_and_can_be_restored_to_either_backend(opened, tmp_path, request):
    gallery = opened()
    plain = filled(gallery)
    gallery.snapshot(tmp_path / "snapshot")
    with pytest.raises(GalleryError, match="already exists"):
        gallery.snapshot(tmp_path / "snapshot")
    gallery.delete(list(plain.entries)[:30])
    with open_gallery(tmp_path / "snapshot", model=MODEL, read_only=True) as copy:
        same(copy, plain, vectors(3, seed=1), 70)
        with pytest.raises(GalleryError, match="read-only"):
            copy.delete(["e00"])
        with pytest.raises(GalleryError, match="read-only"):
            copy.add([Entry(vectors(1)[0])])
    others = {"faiss": ["back", "back.db"]}.get(opened.backend, ["back"])
    for name in others:
        restore(tmp_path / "snapshot", tmp_path / name)
        with open_gallery(tmp_path / name, model=MODEL) as back:
            same(back, plain, vectors(3, seed=1), 70, cameras=(1, 2))
        with pytest.raises(GalleryError, match="already"):
            restore(tmp_path / "snapshot", tmp_path / name)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_threads_may_read_while_the_index_is_built_and_traces_are_removed(opened):
    if opened.backend == "milvus":
        pytest.skip("Lite's server, in place of a cluster, has no collection then")
    gallery = opened()
    gallery.add(Entries(vectors(60), ids=[f"{row:02}" for row in range(60)]))
    faults, rounds, stop = [], [0, 0], threading.Event()

    def read(number):
        while not stop.is_set():
            try:
                assert [entry.id for entry in gallery.get(["07", "11"])] == ["07", "11"]
                assert gallery.known(["07", "xx"]) == ["07"]
                assert len(gallery) == 60
                assert sorted(name for batch in gallery.batches(40) for name in batch.ids) == [
                    f"{row:02}" for row in range(60)
                ]
                assert len(gallery.sample(5)) == 5
                assert gallery.stats().entries == 60
            except BaseException as error:
                faults.append(repr(error))
            rounds[number] += 1

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for kind in ("hnsw", "exact"):
        gallery.build_index(IndexOptions(kind))
        gallery.compact()
    while min(rounds) < 2:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_threads_may_search_while_others_write(opened):
    gallery = opened()
    rows = vectors(400)
    gallery.add(Entries(rows[:40], ids=[f"kept{row}" for row in range(40)], identities=["kept"] * 40))
    faults, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            for row in range(0, 40, 9):
                found = gallery.search(rows[row][None], 3)[0]
                if found.ids[0] != f"kept{row}" or len(found.ids) != 3:
                    faults.append(found.ids)
                found = gallery.search(rows[row][None], 50, Filter(identity="kept"))[0]
                if len(found.ids) != 40:  # also while they are replaced
                    faults.append(found.ids)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(40, 160, 20):
        gallery.add(Entries(rows[start : start + 20], ids=[f"new{row}" for row in range(start, start + 20)]))
        gallery.upsert(Entries(rows[:5], ids=[f"kept{row}" for row in range(5)], identities=["kept"] * 5))
        gallery.delete([f"new{row}" for row in range(start, start + 10)])
    if opened.backend != "milvus":  # Lite's server, in place of a cluster, shows nothing for a moment while it flushes
        gallery.compact()
    stop.set()
    for thread in threads:
        thread.join()
    gallery.compact()
    assert faults == []
    assert len(gallery) == 100
