"""Filters: which could be met, what a prefix means, and how a person types one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.records import INFRARED
from crossreid.errors import CrossreidError
from crossreid.galleries.filters import Filter, filter_of_texts, prefix_end

# What UTF-8 holds: all characters but surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(prefix=TEXTS, other=TEXTS)
def test_texts_of_a_prefix_are_a_range(prefix, other):
    end = prefix_end(prefix)
    for text in (other, prefix + other, other + prefix):
        for order in (str, str.encode):  # by code points as Python, by bytes as databases
            inside = order(text) >= order(prefix) and (end is None or order(text) < order(end))
            assert inside == text.startswith(prefix)


def test_filters_that_nothing_could_meet_are_refused():
    for bad, said in (
        ({"cameras": ()}, "cameras is empty"),
        ({"cameras": (-1,)}, "camera -1"),
        ({"since": 2.0, "until": 2.0}, "not before until"),
        ({"modality": 3}, "expected visible or infrared"),
        ({"identity": ""}, "never empty"),
        ({"added_until": math.nan}, "expected finite seconds"),
        ({"source": "a\0"}, "NUL"),
    ):
        with pytest.raises(ValueError, match=said):
            Filter(**bad)
    assert Filter(cameras=(3, 1, 3)).cameras == (1, 3)
    assert Filter(modality=1).modality is INFRARED
    assert Filter().is_empty
    assert not Filter(cameras=(1,)).is_empty


def test_filters_are_typed_as_texts():
    typed = filter_of_texts(
        identity="p1",
        cameras=[3, 1],
        modality="Infrared",
        since="2026-11-21T10:00Z",
        until="2026-11-22",
        added_until="7.5",
    )
    assert typed == Filter("p1", (1, 3), INFRARED, 1795255200.0, 1795305600.0, added_until=7.5)
    assert filter_of_texts(cameras=[]).is_empty
    for bad, said in (
        ({"modality": "thermal"}, "expected visible or infrared"),
        ({"since": "noon"}, "expected ISO 8601"),
    ):
        with pytest.raises(CrossreidError, match=said):
            filter_of_texts(**bad)
    assert [chosen.of_texts for chosen in (typed, Filter(source="a"), Filter(source_prefix="a"), Filter(until=1.0))] == [
        True, True, True, False,
    ]  # fmt: skip
