"""Overrides of a recipe: `--set KEY.KEY=VALUE` with YAML values, and the same pairs as the options of a reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.files import key_value
from crossreid.runs.faults import RecipeError, shown
from crossreid.runs.yaml_text import DEPTH, YamlError, read_yaml

# Earlier names of keys, which still override the present ones.
EARLIER = {"training.optimiser.new_layers_factor": "training.optimiser.rates.heads"}
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def reader_options(overrides: Sequence[str]) -> dict[str, Any]:
    """Parse `key=value` pairs with YAML values into options of a data set's reader."""
    options: dict[str, Any] = {}
    for override in overrides:
        apply_override(options, override)
    return options


def apply_override(recipe: dict[str, Any], override: str) -> None:
    """Set one dotted key of a mapping, in place; missing sections are created.

    Raises:
        RecipeError: not a pair, a value that is not YAML, or a key below something that is not a section.
    """
    try:
        key, value = key_value(override, "--set", "KEY=VALUE, for example training.optimiser.lr=1e-4")
    except CrossreidError as error:
        raise RecipeError(str(error)) from error
    for earlier, present in EARLIER.items():
        if key == earlier or key.endswith(f".{earlier}"):  # also in a teacher's section
            key = key.removesuffix(earlier) + present
    *sections, last = key.split(".")
    if len(sections) > DEPTH:
        raise RecipeError(
            f"--set {override[:60]}...: expected a key of at most {DEPTH} sections, found {len(sections)}."
        )
    place = recipe
    path = iter(sections)
    for section in path:
        inner = place.setdefault(section, {})
        if isinstance(inner, list) and (name := next(path, None)) is not None:
            section, inner = f"{section}.{name}", _element(inner, name, override)
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {override!r}: {section!r} holds {shown(inner)}, which has no keys of its own.")
        place = inner
    try:
        place[last] = as_number(read_yaml(value))
    except YamlError as error:
        raise RecipeError(f"--set {shown(override)}: the value is not valid YAML: {error}.") from error


def _element(sections: list[Any], name: str, override: str) -> Any:
    """Return a section of a list by its name, or by its position, counted from 0."""
    names = [str(one.get("called") or one.get("name")) if isinstance(one, dict) else "" for one in sections]
    if names.count(name) == 1:
        return sections[names.index(name)]
    if name.isdecimal() and int(name) < len(sections):
        return sections[int(name)]
    raise RecipeError(f"--set {override!r}: {name!r} is not one of {', '.join(names)}.")


def as_number(value: Any) -> Any:
    """Convert text such as 1e-4, which YAML 1.1 does not read as a number, to a number."""
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


def with_numbers(value: Any) -> Any:
    """Return a copy of YAML values in which such texts are numbers."""
    if isinstance(value, dict):
        return {key: with_numbers(inner) for key, inner in value.items()}
    return [with_numbers(inner) for inner in value] if isinstance(value, list) else as_number(value)
