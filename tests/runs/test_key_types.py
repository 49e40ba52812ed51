"""What the page on recipes says of a key's values is what its field takes: words are read back, and values tried."""

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from crossreid.runs.key_types import UNKNOWN, type_in_words

ENDS = st.integers(-4, 4).map(lambda quarters: quarters / 4)


def takes(annotation, value) -> bool:
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def within(words, value) -> bool:
    """Whether a number is in the range that the words name, read as a person reads them."""
    if found := re.fullmatch(r"number in ([\[(])(.+), (.+)([\])])", words):
        opens, low, high, closes = found.groups()
        above = value >= float(low) if opens == "[" else value > float(low)
        return above and (value <= float(high) if closes == "]" else value < float(high))
    if found := re.fullmatch(r"number (>=|>|<=|<) (.+)", words):
        sign, end = found.groups()
        return {">=": value >= float(end), ">": value > float(end), "<=": value <= float(end), "<": value < float(end)}[
            sign
        ]
    assert words == "number"
    return True


@given(
    low=st.none() | st.builds(lambda kind, end: kind(end), st.sampled_from([Ge, Gt]), ENDS),
    high=st.none() | st.builds(lambda kind, end: kind(end), st.sampled_from([Le, Lt]), ENDS),
    value=st.integers(-6, 6).map(lambda quarters: quarters / 4),
)
def test_a_range_in_words_is_the_one_that_pydantic_holds(low, high, value):
    bounds = tuple(bound for bound in (low, high) if bound is not None)
    annotation = Annotated[(float, *bounds)] if bounds else float
    assert within(type_in_words(annotation), value) == takes(annotation, value)
    assert within(type_in_words(float, bounds), value) == takes(annotation, value)


@given(choices=st.lists(st.from_regex(r"[a-z][a-z_0-9-]{0,7}", fullmatch=True), min_size=2, max_size=5, unique=True))
def test_choices_are_listed_as_they_are_written(choices):
    words = type_in_words(Literal[tuple(choices)])
    assert words == f"one of {', '.join(choices)}"
    assert all(takes(Literal[tuple(choices)], choice) for choice in words.removeprefix("one of ").split(", "))


@given(count=st.integers(2, 6), given=st.integers(0, 8))
def test_the_length_of_a_list_is_named(count, given):
    annotation = tuple[(int,) * count]
    assert type_in_words(annotation) == f"list of {count} integers"
    assert takes(annotation, [1] * given) == (given == count)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (str, "text"),
        (Path, "path"),
        (int | None, "null or integer"),
        (Annotated[int | None, Field(ge=1)], "null or integer >= 1"),
        (Annotated[float | None, Field(gt=0, lt=math.pi)], "null or number in (0, pi)"),
        (Literal["a", "b"] | None, "null or one of a, b"),
        (Literal["a", "b"] | int, "one of a, b; or integer"),
        (tuple[Annotated[int, Field(ge=0)], ...], "list of integers >= 0"),
        (Annotated[tuple[str, ...], Field(min_length=1)], "list of text, 1 or more"),
        (tuple[Literal["a", "b"], ...], "list of any of a, b"),
        (dict[str, Any], "mapping"),
        (dict[str, float], "mapping of names to numbers"),
        (dict[str, float | None], "mapping of names to (null or number)"),
        (dict[int, tuple[int, int]], "mapping of integers to lists of 2 integers"),
        (complex, UNKNOWN),
    ],
)
def test_words(annotation, words):
    assert type_in_words(annotation) == words


def test_the_order_of_bounds_does_not_matter():
    bounds = [Ge(0), Le(1)]
    assert type_in_words(int, bounds) == type_in_words(int, bounds[::-1]) == "integer in [0, 1]"
    assert all(one == other for one, other in pairwise([type_in_words(float, [Lt(0.5)]), "number < 0.5"]))
