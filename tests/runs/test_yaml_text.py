import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossreid.runs.shipped import SHIPPED
from crossreid.runs.yaml_text import DEPTH, VALUES, YamlError, read_yaml
from hostile_texts import alias_bomb

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:#-[ ", max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_it_reads_what_yaml_reads(value):
    assert read_yaml(yaml.safe_dump(value)) == value


def test_so_with_every_recipe_that_comes_with_the_package():
    recipes = sorted(SHIPPED.glob("*.yaml"))
    assert len(recipes) > 20
    for path in recipes[::5]:
        assert read_yaml(path.read_text()) == yaml.safe_load(path.read_text())


def test_aliases_and_merges_within_reason_mean_what_they_mean():
    text = "one: &one {a: 1, b: [1, 2]}\nother: {<<: *one, a: 2}\nagain: [*one, *one]\n"
    assert read_yaml(text) == {
        "one": {"a": 1, "b": [1, 2]},
        "other": {"a": 2, "b": [1, 2]},
        "again": [{"a": 1, "b": [1, 2]}] * 2,
    }


def test_what_aliases_stand_for_is_counted_before_it_is_made():
    assert len(alias_bomb()) < 500
    begun = time.perf_counter()
    with pytest.raises(
        YamlError, match=rf"it stands for more than {VALUES:,} values with its aliases expanded \(line \d"
    ):
        read_yaml(alias_bomb())
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [1, *a]", r"\*a refers to a collection that contains it \(line 1\)"),
        ("[" * (DEPTH + 1), f"nested more than {DEPTH} levels deep"),
        (
            "a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30,
            "levels deep with its aliases expanded .line 2",
        ),
        ("a: " + "x" * 2_000_000, r"2,000,003 characters, expected at most 1,000,000"),
        ("a: *b", "undefined alias"),
        ("[", "while parsing a flow node"),
    ],
)
def test_what_is_refused_is_said(text, told):
    with pytest.raises(YamlError, match=told):
        read_yaml(text)


def test_the_bounds_are_wide():
    assert len(read_yaml("[" + "1, " * (VALUES - 10) + "]")) == VALUES - 10
    assert read_yaml("[" * DEPTH + "]" * DEPTH)
