"""What is Milvus's own of its galleries: names of collections, what is refused, restoration, damage."""

import numpy as np
import pytest

from crossreid.galleries import Entries, Entry, GalleryError, IndexOptions, open_gallery, restore
from opened_gallery import DIMENSION, MODEL, vectors


@pytest.mark.parametrize("opened", ["milvus-lite", "milvus"], indirect=True)
def test_an_index_that_milvus_refuses_leaves_the_one_before(opened, monkeypatch):
    from pymilvus.exceptions import MilvusException

    gallery = opened(index="hnsw")
    gallery.add(Entries(vectors(9), ids=[f"{row}" for row in range(9)]))
    create = gallery._connection.client.create_index

    def refused(*arguments):
        monkeypatch.setattr(gallery._connection.client, "create_index", create)
        raise MilvusException(message="no such parameter")

    for kind in ("exact", "hnsw"):
        monkeypatch.setattr(gallery._connection.client, "create_index", refused)
        with pytest.raises(GalleryError, match="no such parameter"):
            gallery.build_index(IndexOptions(kind, m=9))
        assert gallery.search(vectors(9)[4:5], 1)[0].ids == ("4",)
        assert (gallery.options.kind, gallery.options.m) == ("hnsw", 16)
        assert gallery._connection.client.describe_index(gallery._entries.name, "embedding")["index_type"] == "HNSW"
    assert opened().options.m == 16


@pytest.mark.parametrize("opened", ["milvus-lite", "milvus"], indirect=True)
def test_galleries_of_one_milvus_leave_each_other_alone(opened):
    name = opened.options.get("collection", "crossreid")
    for number, other in enumerate((f"{name}_entries", f"{name}_entries_1", f"{name}_x")):
        with open_gallery(opened.location, model=f"m{number}", dimension=3, collection=other) as gallery:
            gallery.add([Entry(np.ones(3), "a")])
    opened().add([Entry(np.ones(DIMENSION), "b")])
    opened().compact()
    assert [entry.id for entry in opened().get(["b"])] == ["b"]
    opened().close()
    for number, other in enumerate((f"{name}_entries", f"{name}_entries_1", f"{name}_x")):
        with open_gallery(opened.location, model=f"m{number}", collection=other) as gallery:
            assert len(gallery) == 1


@pytest.mark.parametrize("opened", ["milvus-lite", "milvus"], indirect=True)
def test_a_milvus_gallery_of_another_format_is_refused(opened):
    gallery = opened()
    gallery._about.write({**gallery._about.read(), "format": 1})
    with pytest.raises(GalleryError, match=r"has format 1; this version reads 2\. Recreate it"):
        opened()


def test_what_milvus_lite_cannot_be_leaves_nothing(tmp_path):
    own = tmp_path / "own.db"
    own.mkdir()
    (own / "letter.txt").write_text("mine")
    for where, options, said in (
        (tmp_path / "a.db", {"dimension": 1}, "2 to 32768 dimensions, not 1"),
        (tmp_path / "a.db", {"dimension": 8, "index": "ivf-pq"}, "Milvus Lite has no IVF-PQ"),
        (own, {"dimension": 8}, "already exists and is not Milvus Lite's"),
        (own, {"create": False}, "holds no gallery"),
        (own, {"read_only": True}, "holds no gallery"),
        (tmp_path / "a.db", {"read_only": True}, "holds no gallery"),
    ):
        with pytest.raises(GalleryError, match=said):
            open_gallery(where, model=MODEL, **options)
        assert list(tmp_path.rglob("*")) == [own, own / "letter.txt"]


@pytest.mark.parametrize("opened", ["milvus-lite", "milvus"], indirect=True)
def test_a_restoration_that_ends_early_is_not_opened(opened, tmp_path):
    with open_gallery(tmp_path / "source", model=MODEL, dimension=DIMENSION) as source:
        source.add(Entries(vectors(9), ids=[f"{row}" for row in range(9)]))
        source.snapshot(tmp_path / "copy")

    def failing(*_):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        restore(tmp_path / "copy", opened.location, failing, **opened.options)
    for options in ({}, {"read_only": True}, {"create": True}):
        with pytest.raises(GalleryError, match=r"holds part of a gallery.* restore the snapshot again"):
            opened(**options)
    restore(tmp_path / "copy", opened.location, **opened.options)
    assert len(opened()) == 9
    with pytest.raises(
        GalleryError, match="already is a gallery" if opened.backend == "milvus" else "is open for writing"
    ):
        restore(tmp_path / "copy", opened.location, **opened.options)


# A second client of Milvus Lite would be refused.
@pytest.mark.parametrize("opened", ["milvus"], indirect=True)
def test_a_milvus_gallery_that_is_damaged_says_so(opened):
    with open_gallery(opened.location, model=MODEL, dimension=DIMENSION, **opened.options) as other:
        about = other._about.read()
        for told, said in (
            ({**about, "dimension": "many"}, "is damaged .*many"),
            ({**about, "index": "[]"}, "is damaged .*invalid index options"),
            ({name: about[name] for name in about if name != "model"}, "is damaged .*does not say its model"),
            ({"format": 9}, "has format 9; this version reads 2"),
            ([1], "is damaged"),
        ):
            other._about.write(told)
            with pytest.raises(GalleryError, match=said):
                opened()
