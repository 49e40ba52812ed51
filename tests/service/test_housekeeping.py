import time

import numpy as np
import pytest

from crossreid.galleries import Entry, IndexOptions, open_gallery
from crossreid.service.audit import Audit
from crossreid.service.configuration import ServiceOptions
from crossreid.service.housekeeping import Housekeeping
from crossreid.service.kept_images import KeptImages
from crossreid.service.metrics import Metrics

DAY = 86_400


@pytest.fixture
def gallery(tmp_path):
    with open_gallery(tmp_path / "gallery", model="m", dimension=4) as opened:
        yield opened


def housekeeping(gallery, tmp_path, *, kept=None, every=60, **options):
    chosen = ServiceOptions(state=tmp_path, **options)
    return Housekeeping(gallery, kept, Audit(tmp_path / "audit"), chosen, Metrics(), every)


def entry(id, **known):
    rng = np.random.default_rng(len(id))
    return Entry(rng.standard_normal(4), id, **known)


def holding(folder, text):
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_entries_go_a_time_after_they_were_taken_or_added(gallery, tmp_path):
    now = time.time()
    gallery.add([entry("old-photograph", time=now - 40 * DAY), entry("new", time=now - DAY), entry("undated")])
    work = housekeeping(gallery, tmp_path, retain_days=30)
    work.round(now)
    assert [found is not None for found in gallery.get(["old-photograph", "new", "undated"])] == [False, True, True]
    work.round(now + 29.5 * DAY)  # of the dated one 30.5 days since it was taken, of the other 29.5 since it was added
    assert [found is not None for found in gallery.get(["new", "undated"])] == [False, True]
    work.round(now + 30.5 * DAY)
    assert len(gallery) == 0
    assert work.metrics.registry.get_sample_value("crossreid_expired_entries_total") == 3


def test_without_a_retention_nothing_goes(gallery, tmp_path):
    gallery.add([entry("very-old", time=0.0)])
    housekeeping(gallery, tmp_path).round(time.time() + 10_000 * DAY)
    assert len(gallery) == 1


def test_what_is_over_is_out_of_the_files_and_so_is_its_image(gallery, tmp_path):
    now = time.time()
    kept = KeptImages(tmp_path / "images.sqlite", gallery.uuid)
    gallery.add([entry("e5c0-over", time=now - 9 * DAY, source="s77-over"), entry("stays", time=now)])
    kept.put([("e5c0-over", b"jpeg-4f1d" * 500), ("stays", b"jpeg-77"), ("e5c0-orphan", b"jpeg-4f1d" * 500)])
    marks = ("e5c0-over", "s77-over", "jpeg-4f1d", "e5c0-orphan")
    assert all(holding(tmp_path, mark) for mark in marks)
    housekeeping(gallery, tmp_path, kept=kept, retain_days=7).round(now)
    assert list(kept.ids()) == [["stays"]]
    assert [mark for mark in marks if holding(tmp_path, mark)] == []
    assert kept.get("stays") == b"jpeg-77"
    kept.close()


def test_what_fails_does_not_keep_the_rest_from_being_deleted(gallery, tmp_path, monkeypatch):
    now = time.time()
    kept = KeptImages(tmp_path / "images.sqlite", gallery.uuid)
    gallery.add([entry("e5c0-over", time=now - 9 * DAY)])
    kept.put([("e5c0-over", b"jpeg-4f1d" * 500)])
    work = housekeeping(gallery, tmp_path, kept=kept, retain_days=7)
    monkeypatch.setattr(work.audit, "forget", lambda _: (_ for _ in ()).throw(OverflowError("date value out of range")))
    with pytest.raises(ExceptionGroup) as told:
        work.round(now)
    assert [type(error) for error in told.value.exceptions] == [OverflowError]
    assert holding(tmp_path, "e5c0-over") == holding(tmp_path, "jpeg-4f1d") == []
    kept.close()


def test_traces_of_images_go_though_the_entries_went_while_no_service_ran(gallery, tmp_path):
    kept = KeptImages(tmp_path / "images.sqlite", gallery.uuid)
    gallery.add([entry("gone")])
    kept.put([("gone", b"jpeg-4f1d" * 500)])
    kept.close()
    gallery.delete(["gone"])
    gallery.compact()
    kept = KeptImages(tmp_path / "images.sqlite", gallery.uuid)
    work = housekeeping(gallery, tmp_path, kept=kept)
    work.round()
    assert holding(tmp_path, "jpeg-4f1d") == []
    assert not kept.traces
    kept.close()


def test_of_milvus_too_what_was_deleted_is_removed_from_the_files_unasked(tmp_path):
    now = time.time()
    kept = KeptImages(tmp_path / "images.sqlite", "of-milvus")
    with open_gallery(str(tmp_path / "lite.db"), model="m", dimension=4) as gallery:
        gallery.add([entry("e5c0-over", time=now - 9 * DAY), entry("stays", time=now)])
        kept.put([("e5c0-over", b"jpeg-4f1d" * 500)])
        work = housekeeping(gallery, tmp_path, kept=kept, retain_days=7)
        work.round(now)
        assert [found is None for found in gallery.get(["e5c0-over", "stays"])] == [True, False]
        compacted = work._compacted
        for later in (1, 2):  # nothing was deleted since, so that nothing is rewritten
            work.round(now + later * 4000)
        assert work._compacted == compacted == now
    assert holding(tmp_path, "jpeg-4f1d") == holding(tmp_path, "e5c0-over") == []
    kept.close()


def test_files_are_rewritten_no_more_often_than_said(gallery, tmp_path):
    now = time.time()
    work = housekeeping(gallery, tmp_path, compact_hours=2)
    gallery.add([entry("first"), entry("second")])
    gallery.delete(["first"])
    work.round(now)
    assert gallery.stats().deleted == 0
    gallery.delete(["second"])
    work.round(now + 3600)
    assert gallery.stats().deleted == 1
    work.round(now + 2.1 * 3600)
    assert gallery.stats().deleted == 0


def test_a_round_that_fails_is_counted_and_the_next_one_comes(gallery, tmp_path, caplog):
    work = housekeeping(gallery, tmp_path, retain_days=1, every=0.02)
    gallery.close()
    work.start()
    failures = 0
    for _ in range(200):
        failures = work.metrics.registry.get_sample_value("crossreid_housekeeping_failures_total")
        if failures >= 2:
            break
        time.sleep(0.02)
    work.stop()
    assert failures >= 2
    assert "may not have been deleted" in caplog.text


def test_an_index_that_covers_too_little_is_built_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("crossreid.service.housekeeping._MANY", 50)
    rng = np.random.default_rng(0)
    with open_gallery(tmp_path / "hnsw", model="m", dimension=4, index=IndexOptions("hnsw")) as gallery:
        gallery.add([Entry(row, str(at)) for at, row in enumerate(rng.standard_normal((60, 4)))])
        assert gallery.stats().uncovered == 60
        housekeeping(gallery, tmp_path).round()
        assert gallery.stats().uncovered == 0
        gallery.add([Entry(row, f"more {at}") for at, row in enumerate(rng.standard_normal((40, 4)))])
        housekeeping(gallery, tmp_path).round()
        assert gallery.stats().uncovered == 40
