"""Entries go so many days after they were taken or added: by the command as by the service's housekeeping."""

import time

import numpy as np
import pytest

from crossreid.galleries import Entry, open_gallery
from crossreid.galleries.expiring import DAY, expire
from opened_gallery import DIMENSION, MODEL
from typed_commands import ran, refused

NOW = time.time()


def filled(gallery):
    times = {"old": NOW - 40 * DAY, "new": NOW - DAY, "undated": None}
    gallery.add([Entry(np.ones(DIMENSION), name, time=taken) for name, taken in times.items()])


def test_what_was_taken_or_added_before_goes(opened):
    gallery = opened()
    filled(gallery)
    assert expire(gallery, 30, NOW) == 1
    assert gallery.known(["old", "new", "undated"]) == ["new", "undated"]
    assert expire(gallery, 30, NOW + 29.5 * DAY) == 1  # 30.5 days since it was taken
    assert expire(gallery, 30, NOW + 31 * DAY) == 1  # 31 since it was added
    assert (len(gallery), expire(gallery, 30, NOW + 31 * DAY)) == (0, 0)


def test_the_command_says_how_many(tmp_path, capsys):
    where = tmp_path / "gallery"
    with open_gallery(where, model=MODEL, dimension=DIMENSION) as gallery:
        filled(gallery)
    assert "1 expired, 2 entries" in ran("gallery", "expire", where, "--days", "30")
    assert "0 expired, 2 entries" in ran("gallery", "expire", where, "--days", "30")
    for days in ("0", "-1", "nan", "36501"):
        assert "expected more than 0 and at most 36500" in refused(capsys, "gallery", "expire", where, "--days", days)
    with pytest.raises(Exception, match="holds no gallery"):
        open_gallery(tmp_path / "other", create=False)
