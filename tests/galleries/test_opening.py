"""Opening by location: how one is written, and who may open it."""

import pytest

from crossreid.galleries import Entry, GalleryError, GalleryLocked, open_gallery, restore
from opened_gallery import DIMENSION, MODEL, vectors


def test_a_location_is_written_in_many_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "lite.db"):
        with open_gallery(f"{name}/", model=MODEL, dimension=DIMENSION) as gallery:
            gallery.add([Entry(vectors(1)[0], "a")])
            assert gallery.backend == ("milvus" if name == "lite.db" else "faiss")
            with pytest.raises(GalleryError, match=r"copy\.db ends in \.db, which is for Milvus Lite"):
                gallery.snapshot(tmp_path / "copy.db/")
            gallery.snapshot(tmp_path / f"{name}-copy")
        for written in (name, f"./{name}/", f"{tmp_path}/{name}//", tmp_path / name):
            with open_gallery(written, create=False) as gallery:
                assert len(gallery) == 1
        for target in (f"{name}-back/", f"{name}-back.db/"):
            restore(f"{name}-copy/", target)
            with open_gallery(target.rstrip("/")) as gallery:
                assert gallery.backend == ("milvus" if target.endswith(".db/") else "faiss")
    before = sorted(tmp_path.iterdir())
    for address, said in (
        ("http://127.0.0.1:1/x.db", "the address of a cluster .* does not end in .db"),
        ("tcp://127.0.0.1:1/x.db/", "the address of a cluster .* does not end in .db"),
        ("ftp://127.0.0.1/x", "expected an address that starts with http://, https://, tcp://"),
    ):
        with pytest.raises(GalleryError, match=said):
            open_gallery(address, model=MODEL, dimension=DIMENSION)
        with pytest.raises(GalleryError, match=said):
            restore("folder-copy", address)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("opened", ["faiss", "milvus-lite"], indirect=True)
def test_a_file_has_one_writer(opened):
    opened()
    lite = opened.backend == "milvus-lite"
    what = (
        "in only one process at a time, even for searching; close it there"
        if lite
        else "or open it read-only to search"
    )
    for read_only in (False, True) if lite else (False,):
        with pytest.raises(GalleryLocked, match=rf"open for writing by process \d+ on .* since .* UTC\. .*{what}\.$"):
            open_gallery(opened.location, read_only=read_only, **opened.options)
