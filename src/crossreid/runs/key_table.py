"""All keys of a recipe: what `crossreid recipe --keys` prints and docs/recipes.md holds.

Keys that several methods have with the same meaning are shown once; a table per method follows. A default is the value
that the key gets in the setting `crossreid`, which a recipe has if it names none, not the one that its field declares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from crossreid.data.data_options import DataOptions
from crossreid.errors import CrossreidError
from crossreid.methods import METHODS, MethodOptions
from crossreid.options import dotted
from crossreid.runs.key_types import type_in_words
from crossreid.runs.recipe import Recipe
from crossreid.runs.sections import sections

REQUIRED = "required"
Owners = tuple[str, ...]  # names of the methods that have a key
INTRODUCTION = """\
Keys are written with dots, as in `--set`. The default is the value of a key that a recipe does not name; for methods
with settings, it is that of the setting `crossreid`. The columns `paper` and `official` give the values of these
settings; an empty cell means the default.

Keys that methods share are listed once, under the first headings on `method`; each method then has a table of its own
keys, and one of the shared keys that it gives other values.
"""


class Key(NamedTuple):
    """A key of a recipe: its dotted name, its type, the default that its field declares, and its meaning."""

    name: str
    type: str
    default: str
    meaning: str


class Values(NamedTuple):
    """The value of each key in a method's default setting, as YAML, and in its other settings, if any."""

    default: Mapping[str, str]
    others: Mapping[str, Mapping[str, str]]


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a recipe in the order of the model, one method after another."""
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = sections(info.annotation)
        if inner:
            if get_origin(info.annotation) is tuple:
                yield Key(key, "list of sections", _written(info.default), info.description or "")
            elif type(None) in get_args(info.annotation):
                yield Key(key, "null or a section", _written(info.default), info.description or "")
            for section in inner:
                yield from keys(section, f"{key}.")
        else:
            yield Key(key, type_in_words(info.annotation, info.metadata), _declared(info), info.description or "")


def _declared(info: FieldInfo) -> str:
    """Return the default that a field declares, as YAML."""
    if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("filled_in"):
        return "filled in"
    return REQUIRED if info.is_required() else _written(info.get_default(call_default_factory=True))


def keys_as_markdown() -> str:
    """Return all keys in tables, for docs/recipes.md."""
    parts = [INTRODUCTION]
    for name, info in Recipe.model_fields.items():
        if name == "method":
            parts += _methods()
        elif section := sections(info.annotation):
            parts += [f"### `{name}`\n", info.description or "", _table(keys(section[0], f"{name}."))]
    rest = [key for key in keys() if "." not in key.name]
    parts += ["### Outside the sections\n", _table(rest)]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _methods() -> Iterator[str]:
    """Yield the part on `method`: keys of all methods, of some, of families, and of each one."""
    everywhere, families, several = _shared()
    shown: dict[str, dict[str, str]] = {name: {} for name in METHODS}  # the default shown in a shared table, by method

    yield "### `method`: keys of every method\n"
    yield _shared_table(everywhere, shown)
    yield "### `method`: keys of several methods\n"
    yield _shared_table(several, shown, of=True)
    told: dict[str, dict[str, list[str]]] = {name: {} for name in METHODS}  # the whole row in a family's table
    for owners, rows in families.items():
        yield f"### `method`: keys of {_and(f'`{name}`' for name in owners)}\n"
        yield _family_table(owners, rows, told)
    for name in METHODS:
        yield from _method(name, shown[name], told[name])


def _shared() -> tuple[dict[Key, Owners], dict[Owners, dict[Key, Owners]], dict[Key, Owners]]:
    """Return the keys of all methods, those that an options class gives to several, and other keys that several have."""
    owners: dict[Key, list[str]] = {}
    for name, method in METHODS.items():
        for key in keys(method.options, "method."):
            owners.setdefault(key._replace(default=""), []).append(name)  # defaults may differ by method
    everywhere: dict[Key, Owners] = {}
    families: dict[Owners, dict[Key, Owners]] = {}
    several: dict[Key, Owners] = {}
    for key, names in owners.items():
        of = tuple(names)
        if of == tuple(METHODS) and len(of) > 1:
            everywhere[key] = of
        elif len(of) > 1:
            (families.setdefault(of, {}) if _are_a_family(of) else several)[key] = of
    return everywhere, families, several


def _are_a_family(names: Owners) -> bool:
    """Return whether exactly these methods share an options class derived from that of all methods."""
    for base in METHODS[names[0]].options.__mro__:
        if issubclass(base, MethodOptions) and base is not MethodOptions:
            heirs = tuple(name for name in METHODS if issubclass(METHODS[name].options, base))
            if heirs == names:
                return True
    return False


def _shared_table(rows: Mapping[Key, Owners], shown: dict[str, dict[str, str]], *, of: bool = False) -> str:
    """Return a table of keys with the default of most of their methods; `shown` records what was shown for which method."""
    lines = []
    for key, names in rows.items():
        every = [_values(name).default[key.name] for name in names]
        default = Counter(every).most_common(1)[0][0]
        for name in names:
            shown[name][key.name] = default
        cells = [f"`{key.name}`", key.type, f"`{default}`", key.meaning]
        lines.append([*cells, _of(names)] if of else cells)
    return _as_table(["key", "type", "default", "meaning", *(["methods"] if of else [])], lines)


def _of(names: Owners) -> str:
    """Name these methods, or the ones not among them if those are fewer."""
    others = [name for name in METHODS if name not in names]
    if len(others) < len(names):
        return f"all but {_and(f'`{name}`' for name in others)}"
    return ", ".join(f"`{name}`" for name in names)


def _family_table(owners: Owners, rows: Iterable[Key], told: dict[str, dict[str, list[str]]]) -> str:
    """Return a table of a family's keys with all settings, as most of its methods have them."""
    settings = list(_values(owners[0]).others)
    lines = []
    for key in rows:
        cells = Counter(tuple(_cells(_values(name), key.name)) for name in owners).most_common(1)[0][0]
        for name in owners:
            told[name][key.name] = list(cells)
        lines.append([f"`{key.name}`", key.type, *cells, key.meaning])
    return _as_table(["key", "type", "default", *(f"`{name}`" for name in settings), "meaning"], lines)


def _method(name: str, shown: Mapping[str, str], told: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield a method's own keys, and shared ones with other values than in their tables."""
    method, values = METHODS[name], _values(name)
    settings = [f"`{setting}`" for setting in values.others]
    yield f"### `method.name: {name}`\n"
    about = method.options.model_fields["name"].description or method.title
    yield f"{about} Recipes: `{method.recipes}`." if method.recipes else about
    own = [key for key in keys(method.options, "method.") if key.name not in (shown.keys() | told.keys())]
    lines = [
        [f"`{key.name}`", key.type, *_cells(values, key.name), key.meaning] for key in own if key.name != "method.name"
    ]
    if lines:
        yield _as_table(["key", "type", "default", *settings, "meaning"], lines)
    elsewhere = [
        [f"`{key.name}`", *_cells(values, key.name)]
        for key in keys(method.options, "method.")
        if _differs(_cells(values, key.name), shown.get(key.name), told.get(key.name))
    ]
    if elsewhere:
        yield "Shared keys with other values:\n"
        yield _as_table(["key", "default", *settings], elsewhere)


def _differs(cells: list[str], shown: str | None, told: list[str] | None) -> bool:
    if shown is not None:
        return cells != [f"`{shown}`", *[""] * (len(cells) - 1)]
    return told is not None and cells != told


def _cells(values: Values, key: str) -> list[str]:
    """Return the default of a key, and its value in each other setting if it differs."""
    default = values.default[key]
    others = [other[key] for other in values.others.values()]
    return [f"`{default}`", *("" if other == default else f"`{other}`" for other in others)]


@cache
def _values(name: str) -> Values:
    """Return the values of a method's keys in each setting, as `make_recipe` sets them for images of the default size."""
    options = METHODS[name].options
    setting = options.model_fields.get("setting")
    if setting is None:
        return Values(_values_of(options, {"name": name}), {})
    default = str(setting.default)
    every = {one: _values_of(options, {"name": name, "setting": one}) for one in get_args(setting.annotation)}
    # `setting` itself is not compared between settings.
    others = {one: {**values, "method.setting": default} for one, values in every.items() if one != default}
    return Values(every[default], others)


def _values_of(options: type[MethodOptions], given: dict[str, Any]) -> dict[str, str]:
    declared = {key.name: key.default for key in keys(options, "method.")}
    size = (DataOptions.model_fields["height"].default, DataOptions.model_fields["width"].default)
    try:
        section = options.model_validate(given).at_size(size)
    except (ValidationError, CrossreidError):  # a plugin whose keys a recipe has to name
        return declared
    known = dotted(section.model_dump(mode="json"), "method.")
    return {key: _written(known[key]) if key in known else default for key, default in declared.items()}


def _table(rows: Iterable[Key]) -> str:
    return _as_table(
        ["key", "type", "default", "meaning"],
        [[f"`{key.name}`", key.type, f"`{key.default}`", key.meaning] for key in rows],
    )


def _as_table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _and(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _written(value: Any) -> str:
    return yaml.safe_dump(_plain(value), default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
