"""Read YAML written by people (recipes and values of `--set`) within bounds.

A few lines of YAML can stand for billions of values: an alias stands for everything that its anchor holds, and that may
    hold aliases again. So the values that a text stands for, with aliases expanded, are counted before anything is
    built from it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from crossreid.errors import CrossreidError

CHARACTERS, VALUES, DEPTH = 1_000_000, 20_000, 50
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's loader, ten times as fast
_READ_OTHERWISE = re.compile(r"[!?\t\x85\u2028\u2029\ufeff]|[|>][-+\d]*#")  # what libyaml reads differently from PyYAML
_CHARACTERS_A_VALUE = 64  # longer texts count as several values


class YamlError(CrossreidError):
    """A text that is not YAML, or stands for too much; the message names no file."""


def read_yaml(text: str) -> Any:
    """Return the content of a YAML text: mappings, lists, texts, numbers, dates, true, false and null.

    Raises:
        YamlError: it is not valid YAML, refers to itself, or stands for more, or more deeply nested, values than any
            recipe.
    """
    if len(text) > CHARACTERS:
        raise YamlError(f"it has {len(text):,} characters, expected at most {CHARACTERS:,}")
    loaders = [yaml.SafeLoader] if _READ_OTHERWISE.search(text) else [_FAST, yaml.SafeLoader]
    for loader in loaders:  # the last one explains errors better
        try:
            _refuse_excess(text, loader)
            return yaml.load(text, Loader=loader)
        except YamlError:
            raise
        except (
            yaml.YAMLError,
            ValueError,
            TypeError,
        ) as error:  # the latter two: an invalid date, an invalid key
            if loader is yaml.SafeLoader:
                raise YamlError(" ".join(str(error).split())) from error
    raise AssertionError("the last loader reads the text or raises")


def _refuse_excess(text: str, loader: Any) -> None:
    """Walk over the text's events, without recursion, and count what each anchor stands for."""
    known: dict[str, tuple[int, int]] = {}  # number and depth of the values that an anchor stands for
    inside: list[
        tuple[str | None, int, int]
    ] = []  # for each open collection: its anchor, and its values and depth so far
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, CollectionStartEvent):
            inside.append((event.anchor, 1, 1))
            if len(inside) > DEPTH:
                raise YamlError(f"it is nested more than {DEPTH} levels deep{_at(event)}")
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, values, depth = inside.pop()
        elif isinstance(event, ScalarEvent):
            anchor, values, depth = event.anchor, 1 + len(event.value) // _CHARACTERS_A_VALUE, 0
        elif isinstance(event, AliasEvent):
            if any(event.anchor == opened for opened, _, _ in inside):
                raise YamlError(f"*{event.anchor} refers to a collection that contains it{_at(event)}")
            anchor, (values, depth) = None, known.get(str(event.anchor), (1, 0))
        else:
            continue
        if anchor is not None:
            known[anchor] = values, depth
        if inside:
            opened, before, deepest = inside[-1]
            inside[-1] = opened, before + values, max(deepest, depth + 1)
            if sum(count for _, count, _ in inside) > VALUES:
                raise YamlError(f"it stands for more than {VALUES:,} values with its aliases expanded{_at(event)}")
            if len(inside) + depth > DEPTH:
                raise YamlError(f"it is nested more than {DEPTH} levels deep with its aliases expanded{_at(event)}")


def _at(event: Any) -> str:
    return f" (line {event.start_mark.line + 1})"
