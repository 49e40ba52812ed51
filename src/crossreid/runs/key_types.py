"""The type of a recipe's key in plain words: `number in [0, 1)`, `one of a, b, c`, `list of 2 integers`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

NOUNS: dict[Any, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    dict: "mapping",
    type(None): "null",
}
UNKNOWN = "value"  # for a plugin's own types


def type_in_words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Describe the values of a key whose field has this annotation; `metadata` are the bounds that pydantic stores beside it."""
    bounds = _bounds(metadata)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(arguments[0], [*arguments[1:], *bounds])
    if origin in (Union, UnionType):
        # Bounds on a choice apply to its numbers; null comes first, because it is the usual default.
        every = sorted(arguments, key=lambda one: one is not type(None))
        return _either([type_in_words(one, bounds) for one in every])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin in (tuple, list):
        return _list(arguments, bounds)
    if origin is dict:
        return _mapping(*arguments)
    noun = NOUNS.get(annotation, UNKNOWN)
    return noun + _interval(bounds) if noun in ("integer", "number") else noun


def _bounds(metadata: Iterable[Any]) -> list[Any]:
    """Return the bounds in an annotation's metadata, including those inside a `Field`."""
    found = [inner for one in metadata for inner in (one.metadata if isinstance(one, FieldInfo) else [one])]
    return [one for one in found if isinstance(one, Ge | Gt | Le | Lt | MinLen)]


def _interval(bounds: Iterable[Any]) -> str:
    low = high = ""
    for bound in bounds:
        match bound:
            case Ge(ge=value):
                low, above = f"[{_number(value)}", f" >= {_number(value)}"
            case Gt(gt=value):
                low, above = f"({_number(value)}", f" > {_number(value)}"
            case Le(le=value):
                high, below = f"{_number(value)}]", f" <= {_number(value)}"
            case Lt(lt=value):
                high, below = f"{_number(value)})", f" < {_number(value)}"
    if low and high:
        return f" in {low}, {high}"
    return above if low else below if high else ""


def _number(value: Any) -> str:
    return "pi" if value == math.pi else repr(int(value) if value == int(value) else value)


def _list(arguments: tuple[Any, ...], bounds: list[Any]) -> str:
    least = max((bound.min_length for bound in bounds if isinstance(bound, MinLen)), default=0)
    every = [one for one in arguments if one is not Ellipsis]
    kinds = list(dict.fromkeys(type_in_words(one) for one in every)) or [UNKNOWN]
    count = f"{len(every)} " if Ellipsis not in arguments and len(every) > 1 else ""
    more = f", {least} or more" if least else ""
    return f"list of {count}{_either([_plural(kind) for kind in kinds])}{more}"


def _mapping(key: Any = str, value: Any = Any) -> str:
    if value is Any:
        return "mapping"
    names = "names" if key is str else _plural(type_in_words(key))
    values = type_in_words(value)
    return f"mapping of {names} to {f'({values})' if ' or ' in values else _plural(values)}"


def _either(kinds: list[str]) -> str:
    """Join alternatives; one that contains commas or alternatives itself is set apart from the next."""
    said = kinds[0]
    for before, kind in pairwise(kinds):
        said += f"{'; or ' if ', ' in before or ' or ' in said else ' or '}{kind}"
    return said


def _plural(kind: str) -> str:
    """Return the plural of a kind: `number in [0, 1)` becomes `numbers in [0, 1)`."""
    kind = re.sub(r"^one of ", "any of ", kind)
    return re.sub(r"(^|\bor )(integer|number|path|mapping|list|value)\b", r"\1\2s", kind)
