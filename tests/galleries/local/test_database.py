"""The database of a gallery in process: other files, a full disk, damage, a medium that cannot be written."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from crossreid.galleries import (
    Entries,
    GalleryError,
    IndexOptions,
    open_gallery,
)
from crossreid.galleries.errors import GalleryFault
from local_gallery import MODEL, change, create, names, vectors


def test_files_that_are_no_gallery_are_refused_by_name(location, tmp_path):
    location.mkdir()
    (location / "gallery.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(GalleryError, match="cannot be read as a gallery"):
        open_gallery(location)
    (location / "gallery.sqlite").unlink()
    with pytest.raises(GalleryError, match="holds no gallery"):
        open_gallery(location)
    (location / "something").write_text("else")
    with pytest.raises(GalleryError, match="already exists"):
        open_gallery(location, model=MODEL, dimension=4)
    with create(tmp_path / "older", 3):
        pass
    connection = sqlite3.connect(tmp_path / "older" / "gallery.sqlite")
    connection.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=r"has format 1; this version reads 2\. Recreate it from its embeddings"):
        open_gallery(tmp_path / "older")
    with create(tmp_path / "hurt", 3):
        pass
    connection = sqlite3.connect(tmp_path / "hurt" / "gallery.sqlite")
    connection.execute("DELETE FROM vectors WHERE row = 2")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match=r"damaged \(entries and vectors differ\)"):
        open_gallery(tmp_path / "hurt")


def test_a_disk_that_is_full_loses_nothing(location):
    with create(location, 500) as gallery:
        # SQLite's own limit of pages stands for a full disk: the same error, at the same location.
        writer = gallery._store.database._writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(GalleryError, match=r"could not be written .*full.*nothing of this was kept"):
            gallery.add(Entries(vectors(4000, seed=1), ids=names(4000, 500)))
        assert len(gallery) == 500
        writer.execute("PRAGMA max_page_count=100000")
        gallery.add(Entries(vectors(4000, seed=1), ids=names(4000, 500)))
    with open_gallery(location) as gallery:
        assert len(gallery) == 4500


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
def test_a_damaged_database_is_said_to_be_one(location, statement, value):
    with create(location, 20) as gallery:
        gallery.build_index(IndexOptions("hnsw"))
    change(location, statement, value)

    def used():
        with open_gallery(location) as gallery:
            gallery.search(vectors(1), 20)
            list(gallery.batches())
            gallery.stats()
            gallery.add(Entries(vectors(3, seed=1)))

    with pytest.raises(GalleryFault, match=r"gallery.sqlite is damaged \(.*\); restore it from a snapshot"):
        used()


def test_a_null_where_there_is_none_is_damage(location):
    create(location, 20).close()
    with closing(sqlite3.connect(location / "gallery.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL', 'BLOB')")
    change(location, "UPDATE vectors SET embedding = NULL WHERE row = 3")
    with pytest.raises(GalleryFault, match="is damaged"):
        open_gallery(location)


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


def test_a_medium_that_cannot_be_written(location):
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
            f"{torn} is not writable, and gallery.sqlite-wal holds content that is not in gallery.sqlite yet"
        )
        assert fourth.startswith(f"{closed} is not writable (Permission denied)")
