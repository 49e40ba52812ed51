"""The sections of a recipe as its options classes declare them: classes that a key may hold, and keys of a section."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from crossreid.methods import METHODS, MethodOptions


def sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the options classes in an annotation: one for a section, several for a choice, all registered ones for a method."""
    if annotation is MethodOptions:
        return [method.options for method in METHODS.values()]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is None:
        return []
    return [model for argument in get_args(annotation) for model in sections(argument)]


def keys_at(place: list[str], given: dict[str, Any], recipe: type[BaseModel]) -> list[str]:
    """Return the valid keys at a dotted position of `given`, which names the method."""
    models = [recipe]
    here: Any = given
    for name in place:
        if isinstance(here, list) and name.isdecimal():  # one section of a list
            here = here[int(name)] if int(name) < len(here) else {}
            continue
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [inner for info in fields for inner in sections(info.annotation)]
        here = here.get(name, {}) if isinstance(here, dict) else {}
        if len(models) > 1 and isinstance(here, dict):
            models = [m for m in models if m.model_fields["name"].default == here.get("name")] or models
    return sorted({name for model in models for name in model.model_fields})
