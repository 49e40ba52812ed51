"""Who can be where when: the rules by example, by property, and against a slow reading of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.errors import CrossreidError
from crossreid.watching.identities import topology as module
from crossreid.watching.identities.topology import Limits, Presences, Topology, read_topology

NAMES = ("a", "b", "c")
TIMES = st.integers(0, 60)


def one(topology, seen, camera, start, end, continues=0.0):
    """Whether who was seen there [(camera, first, last)] can be in a view from start to end."""
    cameras, first, last = (np.array([row[at] for row in seen]) for at in range(3))
    codes = np.array([NAMES.index(name) for name in cameras], dtype=np.int64)
    presences = Presences(codes, first.astype(float), last.astype(float), np.zeros(len(seen), dtype=np.int64))
    return bool(Limits(topology, NAMES, continues).possible(presences, 1, NAMES.index(camera), start, end)[0])


def slowly(topology, seen, camera, start, end, continues):
    """The rules as docs/identities.md has them, for one identity."""
    ways = {way: link for link in topology.links for way in link.ways}
    error = topology.clock_error

    def limits(left, entered):
        if left == entered:
            span = topology.returns
        elif (left, entered) in ways:
            span = ways[left, entered].seconds
        else:
            return None if topology.unnamed == "never" else (topology.unnamed, math.inf)
        return span[0], math.inf if span[1] is None else span[1]

    at_once = [row for row in seen if row[1] <= end - error and row[2] >= start + error]
    if any(not topology.may_overlap(row[0], camera) for row in at_once):
        return False
    rest = [row for row in seen if row not in at_once]
    before = [row for row in rest if row[1] + row[2] <= start + end]
    after = [row for row in rest if row not in before]
    fits = []
    for side, near in ((before, max), (after, min)):
        judged = []
        for where, first, last in side:
            gap, span = (
                (start - last, limits(where, camera)) if side is before else (first - end, limits(camera, where))
            )
            continued = where == camera and gap <= continues
            if span is not None and gap + error < span[0] and not continued:
                return False
            judged.append((first, last, continued or (span is not None and gap - error <= span[1])))
        if side is before and judged:
            latest = near(last for _, last, _ in judged)
            begun = min(first for first, last, _ in judged if last == latest)
            judged = [row for row in judged if row[1] >= begun]
        elif judged:
            earliest = near(first for first, _, _ in judged)
            ended = max(last for first, last, _ in judged if first == earliest)
            judged = [row for row in judged if row[0] <= ended]
        fits.append(not judged or any(row[2] for row in judged))
    return bool(at_once) or all(fits)


@st.composite
def topologies(draw):
    links = []
    for ends in (("a", "b"), ("b", "c"), ("a", "c")):
        kind = draw(st.sampled_from(["none", "both", "one", "overlap"]))
        least = draw(st.integers(0, 10))
        seconds = [least, draw(st.one_of(st.none(), st.integers(least, 30)))]
        if kind == "one":
            links.append({"from": ends[0], "to": ends[1], "seconds": seconds})
        elif kind != "none":
            links.append({"between": ends, "seconds": seconds, "overlap": kind == "overlap"})
    return Topology.model_validate({
        "links": links, "unnamed": draw(st.one_of(st.just("never"), st.integers(0, 10))),
        "returns": [draw(st.integers(0, 5)), None], "clock_error": draw(st.sampled_from([0, 0, 2])),
    })  # fmt: skip


seen_before = st.lists(
    st.tuples(st.sampled_from(NAMES), TIMES, TIMES).map(lambda row: (row[0], min(row[1:]), max(row[1:]))),
    max_size=4,
    unique=True,
)


@given(
    topology=topologies(),
    seen=seen_before,
    camera=st.sampled_from(NAMES),
    times=st.tuples(TIMES, TIMES),
    slack=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_as_the_rules_read_slowly(topology, seen, camera, times, slack):
    if seen:
        assert one(topology, seen, camera, min(times), max(times), slack) == slowly(
            topology, seen, camera, min(times), max(times), slack
        )


@given(
    topology=topologies(),
    seen=seen_before,
    camera=st.sampled_from(NAMES),
    times=st.tuples(TIMES, TIMES),
    shift=st.integers(-500, 500),
)
@settings(max_examples=100, deadline=None)
def test_it_is_the_same_by_every_clock(topology, seen, camera, times, shift):
    moved = [(name, first + shift, last + shift) for name, first, last in seen]
    if seen:
        assert one(topology, seen, camera, min(times), max(times)) == one(
            topology, moved, camera, min(times) + shift, max(times) + shift
        )


@given(
    gap=st.integers(0, 40),
    least=st.integers(0, 10),
    most=st.one_of(st.none(), st.integers(10, 30)),
    never=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_both_ways_are_one_way_each(gap, least, most, never):
    topology = Topology.model_validate({
        "links": [{"between": ["a", "b"], "seconds": [least, most]}, {"from": "b", "to": "c", "seconds": [least, most]}],
        "unnamed": "never" if never else 0,
    })  # fmt: skip
    there = one(topology, [("a", 0, 10)], "b", 10 + gap, 20 + gap)
    assert there == one(topology, [("b", 0, 10)], "a", 10 + gap, 20 + gap)
    assert there == (max(least, 1) <= gap <= (math.inf if most is None else most) if gap else False)
    assert one(topology, [("b", 0, 10)], "c", 10 + gap, 20 + gap) == there
    if never:
        assert not one(topology, [("c", 0, 10)], "b", 10 + gap, 20 + gap)


def test_overlapping_views_and_wrong_clocks():
    topology = Topology.model_validate({"links": [{"between": ["a", "b"], "overlap": True}], "clock_error": 2})
    assert one(topology, [("a", 0, 10)], "b", 5, 15)
    assert not one(topology, [("a", 0, 10)], "c", 5, 15)
    assert one(topology, [("a", 0, 10)], "c", 9, 15)
    assert not one(Topology(), [("a", 0, 10)], "c", 9, 15)
    assert topology.may_overlap("b", "a")
    assert not topology.may_overlap("a", "c")


def test_who_came_another_way_is_not_held_against_an_older_presence():
    topology = Topology.model_validate({
        "links": [{"between": ["a", "b"], "seconds": [1, 20]}, {"between": ["b", "c"], "seconds": [1, 20]}], "unnamed": "never",
    })  # fmt: skip
    assert not one(topology, [("a", 0, 10)], "c", 40, 50)
    assert one(topology, [("a", 0, 10), ("b", 20, 30)], "c", 40, 50)
    assert not one(topology, [("a", 0, 10), ("b", 20, 30)], "c", 55, 60)


def test_groups_are_judged_each_by_itself():
    topology = Topology.model_validate({"links": [{"between": ["a", "b"], "seconds": [5, 10]}]})
    seen = Presences(np.array([0, 0, 1]), np.array([0.0, 0.0, 3.0]), np.array([2.0, 6.0, 7.0]), np.array([0, 2, 3]))
    assert Limits(topology, NAMES).possible(seen, 4, 1, 8.0, 9.0).tolist() == [True, True, False, True]


WRONG = [
    (
        "links: [{between: [a, b], second: [1, 2]}]",
        r"links\.0\.second: no such key\. Expected between, from, to, seconds, overlap",
    ),
    ("link: []", r"link: no such key\. Expected cameras, links, unnamed"),
    ("links: [{between: [a, a]}]", "'a' is linked to itself; use `returns`"),
    ("links: [{from: a}]", r"links\.0: expected either `between: \[A, B\]`, or `from: A` and `to: B`"),
    ("links: [{from: a, to: b, overlap: true}]", r"views overlap both ways; write `between: \[A, B\]`"),
    ("links: [{between: [a, b]}, {from: b, to: a}]", "b to a is given twice"),
    (
        "links: [{between: [a, b], seconds: [9, 5]}]",
        r"seconds: expected \[min, max\] with min up to max, found \[9, 5\]",
    ),
    ("cameras: [a, b]\nlinks: [{between: [a, d]}]", r"camera 'd' is not one of cameras \(a, b\)"),
    ("unnamed: sometimes", "unnamed: expected `never` or seconds from 0, found 'sometimes'"),
    ("- a", "expected keys cameras, links, .* found list"),
    ("a: [", "is not YAML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(row) for row in range(len(WRONG))])
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "topology.yaml"
    path.write_text(text)
    with pytest.raises(CrossreidError, match=message) as raised:
        read_topology(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_the_example_of_the_module_is_read(tmp_path):
    path = tmp_path / "topology.yaml"
    path.write_text("\n".join(line[4:] for line in module.__doc__.splitlines() if line.startswith("    ")))
    topology = read_topology(path)
    assert len(topology.links) == 3
    topology.check_cameras(["court", "gate", "hall", "yard", "more"])
    with pytest.raises(CrossreidError, match="camera 'court' is not watched; watched are gate, hall, yard"):
        topology.check_cameras(["gate", "hall", "yard"])
    with pytest.raises(CrossreidError, match="cannot be read"):
        read_topology(tmp_path / "none.yaml")
