"""Explain pydantic's errors in a recipe, one line per error, with the nearest valid key or value."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from crossreid.errors import CrossreidError

LONGEST = 2000  # characters of a value in a message


class RecipeError(CrossreidError):
    """A recipe that cannot be used; one line per error."""


def explained(error: ValidationError, given: dict[str, Any], recipe: type[BaseModel]) -> list[str]:
    """Return one line per error in `given`, an invalid `recipe`: the dotted key, what was expected and what was found."""
    from crossreid.methods.building import (
        UNKNOWN_METHOD,  # imported here: methods load torch, which errors in options do not need
    )
    from crossreid.runs.sections import keys_at

    lines = []
    for fault in error.errors(include_url=False):
        place = [str(part) for part in fault["loc"]]
        key = ".".join(place)
        if fault["type"] == "extra_forbidden":
            known = keys_at(place[:-1], given, recipe)
            near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
            guess = f" Did you mean {'.'.join([*place[:-1], near[0]])!r}?" if near else ""
            expected = f" Known there: {', '.join(known)}." if not near else ""
            lines.append(f"unknown key {key!r}.{guess}{expected}")
        elif fault["type"] == "missing":
            lines.append(f"key {key!r} is required and missing.")
        elif fault["type"] == UNKNOWN_METHOD:
            lines.append(f"key {key + '.name'!r}: {fault['msg']}.")
        elif fault["type"] == "value_error":  # from our own validators, whose messages say what was found
            said = fault["msg"].removeprefix("Value error, ").removesuffix(".")
            lines.append(f"key {key!r}: {said}." if key else f"{said}.")
        else:
            lines.append(f"key {key!r}: {fault['msg']}, found {shown(fault['input'])}.{_near_value(fault)}")
    return lines


def shown(value: Any) -> str:
    """Return a value as messages show it: long ones truncated."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _near_value(fault: Any) -> str:
    allowed = [
        part.strip(" '") for part in str(fault.get("ctx", {}).get("expected", "")).replace(" or ", ",").split(",")
    ]
    near = difflib.get_close_matches(str(fault["input"]), allowed, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
