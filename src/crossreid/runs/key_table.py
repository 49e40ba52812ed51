"""The table of all keys of a recipe: what `crossreid recipe --keys` prints and docs/recipes.md holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from crossreid.runs.recipe import Recipe
from crossreid.runs.sections import sections


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, type, default, description) of every key of a recipe, dotted, in the order of the model."""
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = sections(info.annotation)
        if len(inner) == 1:
            yield from keys(inner[0], f"{key}.")
        elif inner:
            for variant in inner:
                yield (
                    f"{key}.name",
                    "",
                    variant.model_fields["name"].default,
                    variant.model_fields["name"].description or "",
                )
                rest = (row for row in keys(variant, f"{key}.") if row[0] != f"{key}.name")
                yield from rest
        else:
            default = "required" if info.is_required() else _written(info.get_default(call_default_factory=True))
            yield key, _type_name(info.annotation), default, info.description or ""


def keys_as_markdown() -> str:
    """The table of all keys, for docs/recipes.md."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, kind, default, description in keys():
        kind = kind.replace("|", "\\|")
        lines.append(f"| `{key}` | {kind} | `{default}` | {description} |")
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    return yaml.safe_dump(_plain(value), default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
    if str(origin).endswith("Literal"):
        return " | ".join(map(str, arguments))
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(_type_name(argument) for argument in arguments)
    return f"{origin.__name__}[{', '.join(_type_name(a) for a in arguments if a is not Ellipsis)}]"
