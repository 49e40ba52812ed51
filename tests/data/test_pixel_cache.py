"""Images kept on disk and in memory: the pixels that decoding gives, also after a kill, a change, and beside another process."""

import gc
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from crossreid.data import pixel_cache
from crossreid.data.cache_files import read_pack
from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.images import load_image
from crossreid.data.pixel_cache import CacheChoice, Look, cache_of
from crossreid.data.records import INFRARED, Record
from crossreid.data.transforms import resized
from crossreid.files import NoSpace
from noise_records import noise_records

LOOK = Look(20, 12, "bilinear")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def records(tmp_path):
    (tmp_path / "images").mkdir()
    made = noise_records(tmp_path / "images")
    extra = tmp_path / "images" / "whole.png"
    Image.fromarray(np.arange(60 * 40 * 3, dtype=np.uint8).reshape(60, 40, 3)).save(extra)
    boxed = [Record(extra, "a", box=box) for box in ((0, 0, 10, 20), (5, 5, 40, 60))]
    return [*made, *boxed, Record(extra, "a"), Record(extra, "a", 2, INFRARED, pseudo_infrared=True)]


@pytest.fixture
def choice(tmp_path):
    return CacheChoice("disk", tmp_path / "cache")


def folder_of(choice):
    return choice.folder / str(LOOK)


def packs_in(choice):
    return [read_pack(path) for path in sorted(folder_of(choice).glob("*.images"))]


def assert_right(cache, records):
    """What is given out is what decoding gives, for every record."""
    for record, place in zip(records, cache.places_of(records), strict=True):
        expected = resized(load_image(record, at_least=(LOOK.height, LOOK.width)), LOOK.height, LOOK.width, "bilinear")
        assert np.array_equal(cache.at(place), expected)


@pytest.mark.parametrize("kind", ["disk", "memory"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_is_what_decoding_gives(records, choice, kind, workers):
    chosen = replace(choice, kind=kind, workers=workers)
    cache = cache_of(records, chosen, LOOK)
    assert len(cache) == len(records)
    assert_right(cache, records)
    assert not cache.at(cache.places_of(records)[0]).flags.writeable
    assert_right(cache_of(records, chosen, LOOK), records)
    assert len(packs_in(choice)) == (kind == "disk")


def test_what_is_there_is_not_decoded_again_and_what_is_new_is_added(records, choice, monkeypatch):
    cache_of(records[:10], choice, LOOK)
    decoded = []
    monkeypatch.setattr(pixel_cache, "load_image", lambda record, **given: decoded.append(record) or load_image(record))
    cache = cache_of(records, choice, LOOK)
    assert decoded == records[10:]
    assert_right(cache, records)
    assert len(packs_in(choice)) == 2
    cache_of(list(reversed(records)), choice, LOOK)
    assert decoded == records[10:]
    cache_of(records[:3], choice, Look(20, 12, "bicubic"))
    assert decoded[-3:] == records[:3], "another interpolation gives other pixels"


def test_a_file_that_changed_is_decoded_anew_and_one_that_is_gone_leaves_nothing(records, choice):
    cache_of(records, choice, LOOK)
    changed, gone = records[0], records[1]
    before = os.stat(changed.path)
    Image.fromarray(np.full((40, 24, 3), 9, dtype=np.uint8)).save(changed.path)
    os.utime(changed.path, ns=(0, before.st_mtime_ns + 1))
    gone.path.unlink()
    left = [record for record in records if record is not gone]
    # Whoever opens the folder cleans it, whatever is asked for.
    cache = cache_of(records[5:6], choice, LOOK)
    (pack,) = packs_in(choice)
    assert {Path(row.path) for row in pack.rows} == {record.path for record in left if record is not changed}
    assert_right(cache, records[5:6])
    cache = cache_of(left, choice, LOOK)
    assert_right(cache, left)
    assert int(cache.at(cache.places_of([changed])[0]).max()) == 9
    assert cache.places_of([gone]) == [None]


def test_who_only_looks_is_given_what_is_as_it_was(records, choice):
    looking = replace(choice, complete=False)
    assert len(cache_of(records, looking, LOOK)) == 0
    cache_of(records[:10], choice, LOOK)
    records[3].path.write_bytes(b"something else")
    cache = cache_of(records, looking, LOOK)
    assert len(cache) == 9
    assert cache.places_of(records[3:4]) == [None]
    assert len(packs_in(choice)[0].rows) == 10, "and changes nothing"


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_what_cannot_be_decoded_is_met_as_without_a_cache(records, choice, kind):
    records[2].path.write_bytes(records[2].path.read_bytes()[:200])
    records[4].path.unlink()
    cache = cache_of(records, replace(choice, kind=kind), LOOK)
    assert [place is None for place in cache.places_of(records)] == [n in (2, 4) for n in range(len(records))]
    given = {"height": 20, "width": 12, "skip": True}
    plan = [range(8), range(8, 16)]
    plain = list(planned_batches(records, plan, **given))
    kept = list(planned_batches(records, plan, cache=replace(choice, kind=kind), **given))
    assert [batch.bad for batch in kept] == [batch.bad for batch in plain]
    assert all(bool((a.images == b.images).all()) for a, b in zip(kept, plain, strict=True))
    Image.fromarray(np.zeros((40, 24, 3), dtype=np.uint8)).save(records[2].path)
    mended = cache_of(records, choice, LOOK)
    assert mended.places_of(records[2:3]) != [None]


def test_in_memory_it_lasts_as_long_as_somebody_holds_it(records, choice):
    chosen = replace(choice, kind="memory")
    looking = replace(chosen, complete=False)
    cache = cache_of(records, chosen, LOOK)
    assert cache_of(records[:3], looking, LOOK) is cache
    assert cache_of(records[:3], looking, Look(8, 8, "bilinear")) is None
    (path, _), descriptors = cache.files[0], len(os.listdir("/proc/self/fd"))
    assert Path(path).exists()
    del cache
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < descriptors
    assert cache_of(records[:3], looking, LOOK) is None


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_of_no_images_nothing_is_kept(choice, kind):
    """As of a data set without validation images: memory of no bytes cannot be taken."""
    assert cache_of([], replace(choice, kind=kind), LOOK) is None


def test_a_damaged_file_is_replaced(records, choice):
    cache_of(records, choice, LOOK)
    (path,) = folder_of(choice).glob("*.images")
    path.write_bytes(path.read_bytes()[:-3])
    assert_right(cache_of(records, choice, LOOK), records)
    assert [len(pack.rows) for pack in packs_in(choice)] == [len(records)]


def test_a_full_disk_is_one_line_and_leaves_nothing(records, choice, monkeypatch, capsys):
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(NoSpace, match=r"has 0\.0 GB left, but the cache takes 1 MB"):
        cache_of(records, choice, LOOK)
    assert packs_in(choice) == []
    assert "28 images of 20 x 12 take 1 MB in" in capsys.readouterr().err


def build(records, choice, told, hangs):
    """In a process of its own: what it decodes, and what it says, is told; with `hangs` it stays at its sixth picture."""

    def slow(record, **given):
        told.send("decoding")
        time.sleep(600 if hangs and record == records[5] else 0.01)
        return load_image(record, **given)

    pixel_cache.load_image = slow
    pixel_cache.errors = SimpleNamespace(print=lambda text, **style: told.send(text))
    told.send(len(cache_of(records, choice, LOOK)))


def building(records, choice, *, hangs=False):
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=build, args=(records, choice, theirs, hangs))
    process.start()
    theirs.close()
    return process, ours


def all_told(connection):
    told = []
    while not told or not isinstance(told[-1], int):
        assert connection.poll(60)
        told.append(connection.recv())
    return told


def test_a_killed_build_is_never_seen_and_two_at_once_build_it_once(records, choice):
    first, heard = building(records, choice, hangs=True)
    assert [heard.recv() for _ in range(7)][1:] == ["decoding"] * 6, "five pictures are written, and the sixth hangs"
    second, of_second = building(records, choice)
    assert f"waiting for process {first.pid} on " in of_second.recv()
    (left,) = [path for path in folder_of(choice).iterdir() if path.name.endswith(".tmp.images")]
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    third, of_third = building(records, choice)
    told = all_told(of_second) + all_told(of_third)
    for process in (second, third):
        process.join()
    assert told.count("decoding") == len(records), "by one of them alone"
    assert told.count(len(records)) == 2
    assert not left.exists()
    assert len(packs_in(choice)) == 1
    assert_right(cache_of(records, choice, LOOK), records)


def test_another_process_may_replace_what_one_reads(records, choice):
    cache = cache_of(records, choice, LOOK)
    expected = cache.at((0, 3)).copy()
    os.utime(records[0].path, ns=(0, time.time_ns()))
    cache_of(records, choice, LOOK)
    assert np.array_equal(cache.at((0, 3)), expected)
    afresh = pixel_cache.PixelCache(LOOK, cache.files, cache.places)  # as in a process that maps it only now
    assert afresh.at((0, 3)) is None
    assert afresh.places_of(records) == [None] * len(records)


def test_a_folder_that_may_only_be_read_is_only_read(records, choice, monkeypatch):
    cache_of(records[:10], choice, LOOK)
    monkeypatch.setattr(pixel_cache.os, "access", lambda path, mode: mode != os.W_OK)
    cache = cache_of(records, choice, LOOK)
    assert len(cache) == 10
    assert_right(cache, records[:10])
