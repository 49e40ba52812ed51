"""Folders of processes that were killed are removed, those that are being written are not."""

import subprocess
import sys

from crossreid.galleries import (
    open_gallery,
    unfinished_folders,
)
from local_gallery import create


def test_only_what_processes_left_that_are_gone_is_removed(location, tmp_path):
    script = (
        "import os, sys, signal; from crossreid.galleries import open_gallery, unfinished_folders; "
        "unfinished_folders.publish = lambda *a: os.kill(os.getpid(), signal.SIGKILL); "
        "gallery = open_gallery(sys.argv[1], read_only=True); gallery.snapshot(sys.argv[2])"
    )

    def left(folder):
        return [path for path in folder.iterdir() if path.name.startswith(".")]

    def killed(snapshot):
        subprocess.run([sys.executable, "-c", script, location, snapshot], timeout=120)
        (copy,) = left(snapshot.parent)
        assert (copy / "gallery.sqlite").stat().st_size > 16 * 4 * 500
        return copy

    def compacted():
        with open_gallery(location) as gallery:
            killed(tmp_path / "copy")
            gallery.compact()

    def snapshot():
        with open_gallery(location, read_only=True) as gallery:
            gallery.snapshot(tmp_path / "copy")

    create(location, 500).close()
    for call in (lambda: open_gallery(location).close(), compacted, snapshot):
        if call is not compacted:
            killed(tmp_path / "copy")
        call()
        assert left(tmp_path) == []
    assert len(open_gallery(tmp_path / "copy", read_only=True)) == 500
    (tmp_path / ".people.mine").mkdir()
    with unfinished_folders.unfinished(tmp_path / "other") as writing:
        open_gallery(location).close()
        assert sorted(left(tmp_path)) == sorted([writing, tmp_path / ".people.mine"])
    assert left(tmp_path) == [tmp_path / ".people.mine"]
