"""Any sequence of writes, searches, compactions and reopenings does what a dictionary does."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crossreid.data.records import Modality
from crossreid.galleries import Entry, Filter, GalleryError, IndexOptions, open_gallery
from plain_gallery import PlainGallery

DIMENSION = 4
# Few and far apart: equal scores are frequent, nearly equal ones are not there.
POOL = np.random.default_rng(3).standard_normal((12, DIMENSION))
PLACES = st.integers(0, len(POOL) - 1)
TEXTS = st.sampled_from(["a", "b", 'a"', "a'", "a\\", "a%", "a_", "aa", "ä", "\n", "A", "' or ''='"])
CAMERAS = st.integers(0, 3)
TIMES = st.sampled_from([None, 0.0, -1.5, 1.7e9, 1.7e9 + 0.25])
ENTRIES = st.tuples(
    PLACES.map(lambda row: POOL[row]), st.none() | TEXTS, CAMERAS, st.sampled_from(Modality), TIMES, st.just("") | TEXTS
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "identity": TEXTS, "cameras": st.lists(CAMERAS, min_size=1).map(tuple), "modality": st.sampled_from(Modality),
        "since": st.sampled_from([-2.0, 0.0, 1.7e9]), "until": st.sampled_from([0.5, 1.7e9 + 0.1, 1.8e9]), "source": TEXTS,
        "source_prefix": TEXTS, "added_until": st.sampled_from([1.0, 2.0, 4.0, 7.5, 30.0]),
    },
).filter(lambda conditions: conditions.get("since", -9) < conditions.get("until", 1e10))  # fmt: skip


class OfAGallery(RuleBasedStateMachine):
    root, suffix = None, ""

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.root))
        self.where = self.folder / f"gallery{self.suffix}"
        self.plain, self.now = PlainGallery(), 0.0
        self.gallery = self.opened(dimension=DIMENSION)

    def opened(self, **options):
        gallery = open_gallery(self.where, model="m", **options)
        gallery.clock = lambda: self.now
        return gallery

    def keep(self, entries):
        self.plain.entries.update({name: (*entry, self.now) for name, entry in entries.items()})

    def teardown(self):
        if hasattr(self, "gallery"):
            self.gallery.close()
            shutil.rmtree(self.folder)

    @rule(entries=st.dictionaries(TEXTS, ENTRIES, max_size=6))
    def add(self, entries):
        self.now += 1
        rows = [Entry(entry[0], name, *entry[1:]) for name, entry in entries.items()]
        there = [name for name in entries if name in self.plain.entries]
        if there:
            with pytest.raises(GalleryError) as refused:
                self.gallery.add(rows)
            assert repr(there[0]) in str(refused.value)
        else:
            assert self.gallery.add(rows) == list(entries)
            self.keep(entries)

    @rule(entries=st.dictionaries(TEXTS, ENTRIES, max_size=6))
    def upsert(self, entries):
        self.now += 1
        self.gallery.upsert([Entry(entry[0], name, *entry[1:]) for name, entry in entries.items()])
        self.keep(entries)

    @rule(ids=st.lists(TEXTS, max_size=4))
    def delete(self, ids):
        there = {name for name in ids if self.plain.entries.pop(name, None)}
        assert self.gallery.delete(ids) == len(there)

    @rule(conditions=FILTERS.filter(bool))
    def delete_by_filter(self, conditions):
        there = self.plain.matching(**conditions)
        assert self.gallery.delete(filter=Filter(**conditions)) == len(there)
        for name in there:
            del self.plain.entries[name]

    @rule(queries=st.lists(PLACES, min_size=1, max_size=6), k=st.integers(1, 14), conditions=FILTERS)
    def search(self, queries, k, conditions):
        found = self.gallery.search(POOL[queries], k, Filter(**conditions))
        for row, matches in zip(queries, found, strict=True):
            expected = self.plain.search(POOL[row], k, **conditions)
            assert list(matches.ids) == [name for name, _ in expected]
            np.testing.assert_allclose(matches.scores, [score for _, score in expected], atol=1e-6)

    @rule(ids=st.lists(TEXTS, max_size=4))
    def get(self, ids):
        for name, entry in zip(ids, self.gallery.get(ids), strict=True):
            assert (entry is None) == (name not in self.plain.entries)
            if entry is not None:
                known = (entry.identity, entry.camera, entry.modality, entry.time, entry.source, entry.added)
                assert known == self.plain.entries[name][1:]

    @rule()
    def open_again(self):
        self.gallery.close()
        self.gallery = self.opened()

    @rule()
    def compact(self):
        self.gallery.compact()

    @rule()
    def index(self):
        self.gallery.build_index(IndexOptions("hnsw"))

    @rule()
    def snapshot(self):
        copy = self.folder / "copy"
        self.gallery.snapshot(copy)
        with open_gallery(copy, read_only=True) as opened:
            kept = {name: at for batch in opened.batches(3) for name, at in zip(batch.ids, batch.added, strict=True)}
            assert kept == {name: entry[-1] for name, entry in self.plain.entries.items()}
        shutil.rmtree(copy)

    @invariant()
    def as_many(self):
        if hasattr(self, "gallery"):
            assert len(self.gallery) == len(self.plain.entries)


class OfMilvusLite(OfAGallery):
    suffix = ".db"


def test_in_process(tmp_path, monkeypatch):
    monkeypatch.setattr(OfAGallery, "root", tmp_path)
    run_state_machine_as_test(OfAGallery, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))


def test_milvus_lite(tmp_path, monkeypatch):
    monkeypatch.setattr(OfMilvusLite, "root", tmp_path)
    run_state_machine_as_test(
        OfMilvusLite,
        settings=settings(
            max_examples=2, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
