"""YAML that people write: recipes and the values of `--set`, read within bounds.

A few lines of YAML can stand for billions of values, as an alias stands for all that its anchor holds, and each of those for others.
So what a text stands for is counted, with its aliases written out, before anything is made of it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from crossreid.errors import CrossreidError

CHARACTERS, VALUES, DEPTH = 1_000_000, 20_000, 50
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times as fast
_READ_OTHERWISE = re.compile(r"[!?\t\x85\u2028\u2029\ufeff]|[|>][-+\d]*#")  # what libyaml takes otherwise than PyYAML
_CHARACTERS_A_VALUE = 64  # a text that is as long as several counts as several


class YamlError(CrossreidError):
    """A text that is no YAML, or stands for too much; the message names no file."""


def read_yaml(text: str) -> Any:
    """What a YAML text holds: mappings, lists, texts, numbers, dates, true, false and null.

    Raises:
        YamlError: it is no valid YAML, refers to itself, or stands for more or deeper nested values than any recipe.
    """
    if len(text) > CHARACTERS:
        raise YamlError(f"it has {len(text):,} characters, expected at most {CHARACTERS:,}")
    loaders = [yaml.SafeLoader] if _READ_OTHERWISE.search(text) else [_FAST, yaml.SafeLoader]
    for loader in loaders:  # the last says better what is wrong
        try:
            _refuse_excess(text, loader)
            return yaml.load(text, Loader=loader)
        except YamlError:
            raise
        except (
            yaml.YAMLError,
            ValueError,
            TypeError,
        ) as error:  # the latter two: a date that is none, a key that cannot be one
            if loader is yaml.SafeLoader:
                raise YamlError(" ".join(str(error).split())) from error
    raise AssertionError("the last loader reads the text or raises")


def _refuse_excess(text: str, loader: Any) -> None:
    """Walk over the text's events, which takes no recursion, and count what each anchor stands for."""
    known: dict[str, tuple[int, int]] = {}  # values and depth that an anchor stands for
    inside: list[
        tuple[str | None, int, int]
    ] = []  # of each collection that is open: its anchor, its values and its depth so far
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, CollectionStartEvent):
            inside.append((event.anchor, 1, 1))
            if len(inside) > DEPTH:
                raise YamlError(f"it is nested more than {DEPTH} deep{_at(event)}")
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, values, depth = inside.pop()
        elif isinstance(event, ScalarEvent):
            anchor, values, depth = event.anchor, 1 + len(event.value) // _CHARACTERS_A_VALUE, 0
        elif isinstance(event, AliasEvent):
            if any(event.anchor == opened for opened, _, _ in inside):
                raise YamlError(f"*{event.anchor} refers to what it lies in{_at(event)}")
            anchor, (values, depth) = None, known.get(str(event.anchor), (1, 0))
        else:
            continue
        if anchor is not None:
            known[anchor] = values, depth
        if inside:
            opened, before, deepest = inside[-1]
            inside[-1] = opened, before + values, max(deepest, depth + 1)
            if sum(count for _, count, _ in inside) > VALUES:
                raise YamlError(f"it stands for more than {VALUES:,} values, its aliases written out{_at(event)}")
            if len(inside) + depth > DEPTH:
                raise YamlError(f"it is nested more than {DEPTH} deep, its aliases written out{_at(event)}")


def _at(event: Any) -> str:
    return f" (line {event.start_mark.line + 1})"
