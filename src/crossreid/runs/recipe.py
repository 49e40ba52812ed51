"""The recipe: everything a run depends on, as validated YAML.

Each section is defined beside what it configures; this module composes them, applies `--set` overrides and turns what
pydantic finds wrong into one line a fault, with the nearest valid name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from crossreid.data.data_options import DataOptions
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import EvaluationOptions
from crossreid.methods import MethodOptions, network_options
from crossreid.methods.view_distillation import ViewDistillationOptions
from crossreid.options import Options
from crossreid.training.options import TrainingOptions

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class RecipeError(CrossreidError):
    """A recipe that cannot be used; one line a fault."""


class Recipe(Options):
    """What to train, on what, how, and how it is scored."""

    data: DataOptions = Field(description="The data set and how it is read.")
    method: MethodOptions = Field(description="The method and its network.")
    training: TrainingOptions = Field(TrainingOptions(), description="The loop, its optimiser and its schedule.")
    evaluation: EvaluationOptions = Field(EvaluationOptions(), description="How embeddings are made and compared.")
    teacher: dict[str, Any] | None = Field(
        None,
        description="What a teacher's run changes of this recipe, by section; with it `crossreid train` trains OUT/teacher, "
        "then OUT/student. null: one run.",
    )
    generations: int = Field(
        1, ge=1, le=20, description="Students, each the teacher of the next, where there is a teacher."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if isinstance(self.method, ViewDistillationOptions):
            if self.method.network is not None:
                network_options(self.method.network)
            if (self.method.images or 1) > self.data.sets.size:
                raise CrossreidError(
                    f"method.images is {self.method.images}, but data.sets.size is {self.data.sets.size}: the student's "
                    "images are among its teacher's"
                )
        elif self.data.sets.size > 1:
            raise CrossreidError(
                f"data.sets.size is {self.data.sets.size}, but {self.method.name} learns from single images"
            )
        if self.teacher is not None:
            if not isinstance(self.method, ViewDistillationOptions):
                raise CrossreidError(f"`teacher` is for view_distillation, the method is {self.method.name}")
            if self.method.teacher is not None:
                raise CrossreidError("`teacher` and method.teacher: expected one of them")
            teacher_recipe(self)
        return self

    def as_yaml(self) -> str:
        """The whole recipe, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `key.key=value` overrides applied (values are YAML).

    Raises:
        RecipeError: no such file, no YAML mapping, an unknown key or an impossible value, named.
    """
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in Path("recipes").glob("*.yaml")], n=3, cutoff=0.4)
        hint = f" Near it in recipes/: {', '.join(near)}." if near else ""
        raise RecipeError(f"recipe {path} not found. Expected a YAML file.{hint}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is no valid YAML: {' '.join(str(error).split())}") from error
    return make_recipe(given, overrides, source=str(path))


def make_recipe(given: Any, overrides: Sequence[str] = (), *, source: str = "recipe") -> Recipe:
    """A recipe from a mapping, with overrides; errors name `source`."""
    if not isinstance(given, dict):
        raise RecipeError(
            f"{source}: expected a mapping of sections ({', '.join(Recipe.model_fields)}), found {given!r}."
        )
    merged = _copied(given)
    for override in overrides:
        _apply(merged, override)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{source}: {line}" for line in _explained(error, merged))) from error


def teacher_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the teacher's run: `recipe` with the changes of its `teacher` section, without a teacher of its own.

    A teacher sees all images of a set, and starts from its backbone's weights, unless that section says otherwise.
    """
    given = recipe.model_dump(mode="json")
    changes = given.pop("teacher")
    given.pop("generations")
    if given["method"]["name"] == "view_distillation":
        given["method"] |= {"teacher": None, "start": "weights", "images": None}
    if name := (changes.get("method") or {}).get("name"):
        given["method"] = {"name": name} if name != given["method"]["name"] else given["method"]
    return make_recipe(_merged(given, changes), source="teacher")


def _merged(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(given)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, type, default, description) of every key of a recipe, dotted, in the order of the model."""
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = _models(info.annotation)
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


def reader_options(overrides: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs, values YAML, as the options of a data set's reader."""
    options: dict[str, Any] = {}
    for override in overrides:
        _apply(options, override)
    return options


def _apply(recipe: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"--set {override!r}: expected KEY=VALUE, for example training.optimiser.lr=1e-4.")
    *sections, last = key.strip().split(".")
    place = recipe
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {override!r}: {section!r} holds {inner!r}, which has no keys of its own.")
        place = inner
    try:
        place[last] = _number(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is no valid YAML.") from error


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text: what a person means by it is a number."""
    return float(value) if isinstance(value, str) and SCIENTIFIC.fullmatch(value) else value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else _number(value)


def _explained(error: ValidationError, given: dict[str, Any]) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False):
        variants = set(_variant_names())
        place = [str(part) for part in fault["loc"] if part not in variants]
        key = ".".join(place)
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(place[-1], _siblings(place[:-1], given), n=1, cutoff=0.5)
            guess = f" Did you mean {'.'.join([*place[:-1], near[0]])!r}?" if near else ""
            expected = f" Known there: {', '.join(sorted(_siblings(place[:-1], given)))}." if not near else ""
            lines.append(f"unknown key {key!r}.{guess}{expected}")
        elif fault["type"] == "missing":
            lines.append(f"key {key!r} is required and missing.")
        elif fault["type"].startswith("union_tag"):
            lines.append(f"key {key + '.name'!r}: expected one of {', '.join(_variant_names())}.")
        else:
            lines.append(f"key {key!r}: {fault['msg']}, found {fault['input']!r}.{_near_value(fault)}")
    return lines


def _near_value(fault: Any) -> str:
    allowed = [
        part.strip(" '") for part in str(fault.get("ctx", {}).get("expected", "")).replace(" or ", ",").split(",")
    ]
    near = difflib.get_close_matches(str(fault["input"]), allowed, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _siblings(place: list[str], given: dict[str, Any]) -> list[str]:
    """The valid keys at a dotted place."""
    models: list[type[BaseModel]] = [Recipe]
    here: Any = given
    for name in place:
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [inner for info in fields for inner in _models(info.annotation)]
        here = here.get(name, {}) if isinstance(here, dict) else {}
        if len(models) > 1 and isinstance(here, dict):
            models = [m for m in models if m.model_fields["name"].default == here.get("name")] or models
    return sorted({name for model in models for name in model.model_fields})


def _variant_names() -> list[str]:
    return [variant.model_fields["name"].default for variant in _models(Recipe.model_fields["method"].annotation)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The options classes in an annotation: one for a section, several for a choice of sections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is None:
        return []
    return [model for argument in get_args(annotation) for model in _models(argument)]


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
    if origin is Union or str(origin).endswith("UnionType"):
        return " | ".join(_type_name(argument) for argument in arguments)
    return f"{origin.__name__}[{', '.join(_type_name(a) for a in arguments if a is not Ellipsis)}]"
