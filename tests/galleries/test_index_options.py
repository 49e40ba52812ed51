"""Options of indexes: what is possible, as they are kept, and as a person types them."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.galleries import (
    Entries,
    IndexOptions,
)
from local_gallery import create, vectors


def test_options_of_indexes_are_checked(location):
    for options, said in (
        ({"kind": "flat"}, "expected one of exact, hnsw, ivf-pq"),
        ({"m": 1}, "m=1: expected a whole number from 2"),
        ({"nprobe": 1.5}, "nprobe=1.5"),
    ):
        with pytest.raises(ValueError, match=said):
            IndexOptions(**options)
    assert IndexOptions.from_json(IndexOptions("hnsw", m=7).to_json()) == IndexOptions("hnsw", m=7)
    with create(location, 100, index="ivf-pq") as gallery:
        with pytest.raises(ValueError, match="at least 1000 entries to learn from, found 100"):
            gallery.build_index()
        why = "IVF-PQ needs at least 1000 entries to learn from, found 100; use exact or hnsw"
        assert gallery.stats().index == f"exact, as the ivf-pq index is not used: {why}"
        gallery.add(Entries(vectors(1000, seed=1)))
        assert gallery.stats().index == "exact, as the ivf-pq index is not used: not built yet"
        with pytest.raises(ValueError, match="pq_bytes=5: expected a divisor of the dimension 16"):
            gallery.build_index(IndexOptions("ivf-pq", pq_bytes=5))
        told = []
        gallery.build_index(advance=lambda done, total: told.append((done, total)))
        assert told == [(1100, 1100)]


def test_options_are_typed_as_texts():
    assert IndexOptions.of_texts("hnsw", ["m=8", " ef_search =200"]) == IndexOptions("hnsw", m=8, ef_search=200)
    assert IndexOptions.of_texts("exact") == IndexOptions()
    names_of = "m, ef_construction, ef_search, nlist, nprobe, pq_bytes, refine"
    for bad in ("links=3", "m", "m=many", "kind=hnsw", "=3", "m=-8"):
        with pytest.raises(CrossreidError, match=rf"^--option '{bad}': expected KEY=NUMBER, of {names_of}\.$"):
            IndexOptions.of_texts("hnsw", [bad])
    with pytest.raises(CrossreidError, match="expected one of exact, hnsw, ivf-pq"):
        IndexOptions.of_texts("flat")


def test_bytes_of_a_vector_divide_its_dimension():
    assert [IndexOptions().part_bytes(dimension) for dimension in (256, 10, 7, 3)] == [64, 2, 1, 1]
    assert IndexOptions("ivf-pq", pq_bytes=8).part_bytes(256) == 8
