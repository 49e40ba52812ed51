"""The recipe: everything a run depends on, as validated YAML.

Each section is defined beside what it configures, and a method's section by the method; this module composes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from crossreid.data.data_options import DataOptions
from crossreid.data.normalisation import IMAGENET
from crossreid.data.sources import NormaliseOptions, one_section, with_names
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import EvaluationOptions
from crossreid.methods import MethodOptions, method_options, with_encoder
from crossreid.methods.view_distillation import ViewDistillationOptions
from crossreid.models.backbone_options import pixels_of
from crossreid.models.encoder_weights import Origin
from crossreid.options import Options
from crossreid.runs.earlier import as_it_was, forget_filled_sizes, has_pixels
from crossreid.runs.faults import RecipeError, explained, shown
from crossreid.runs.overrides import apply_override, with_numbers
from crossreid.runs.shipped import recipe_file
from crossreid.runs.yaml_text import read_yaml
from crossreid.training.options import TrainingOptions

SIZING = ("data.height", "data.width", "method.")  # overrides that may change which size an encoder is built for


class Recipe(Options):
    """What to train, on what, how, and how it is scored."""

    data: DataOptions = Field(description="The data set and how it is read.")
    method: Annotated[SerializeAsAny[MethodOptions], BeforeValidator(method_options)] = Field(
        description="The method and its network."
    )
    training: TrainingOptions = Field(TrainingOptions(), description="The loop, its optimiser and its schedule.")
    evaluation: EvaluationOptions = Field(EvaluationOptions(), description="How embeddings are made and compared.")
    start_from: Path | None = Field(
        None,
        description="What training starts from: a run of any method on the same backbone, a checkpoint, or a file of "
        "backbone weights. Heads that do not fit, or are of other identities, are drawn anew.",
    )
    start_encoder: Origin | None = Field(
        None,
        description="Which encoder of start_from's network every encoder takes; null for the one of the same name, "
        "where both networks have the same encoders, else the shared one.",
    )
    teacher: dict[str, Any] | None = Field(
        None,
        description="What the teacher's run changes in this recipe, by section; `crossreid train` then trains "
        "OUT/teacher and OUT/student. null for one run.",
    )
    generations: int = Field(
        1, ge=1, le=20, description="Number of students where there is a teacher; each is the teacher of the next."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_section_of_data(cls, given: Any) -> Any:
        return {**given, "data": one_section(given["data"])} if isinstance(given, dict) and "data" in given else given

    @model_validator(mode="before")
    @classmethod
    def _start_from_of_training(cls, given: Any) -> Any:
        """`training.start_from`, where many look for it, is `start_from`."""
        training = given.get("training") if isinstance(given, dict) else None
        if not isinstance(training, dict) or "start_from" not in training:
            return given
        if given.get("start_from") is not None:
            raise CrossreidError("training.start_from and start_from are the same key: expected one of them")
        rest = {key: value for key, value in training.items() if key != "start_from"}
        return {**given, "training": rest, "start_from": training["start_from"]}

    @model_validator(mode="after")
    def _encoders_follow_size(self) -> Recipe:
        """Write into `method` the size of image that its encoders are built for, where one depends on it."""
        method = self.method.at_size((self.data.height, self.data.width))
        object.__setattr__(self, "method", method)  # frozen to all but its own validation
        return self

    @model_validator(mode="after")
    def _pixels_follow_weights(self) -> Recipe:
        """Write into `data` how images are resized and normalised, where it leaves that to the backbone's weights.

        So a recipe that is kept says it in numbers, whatever a later version of a backbone's description says.
        """
        data = self.data
        normalise = data.normalise
        if normalise.mean is not None and data.interpolation is not None:
            return self
        wanted = pixels_of(self.method.encoder)
        if normalise.mean is None:
            normalise = NormaliseOptions(mean=wanted.normalisation.mean, std=wanted.normalisation.std)
        seen = {"interpolation": data.interpolation or wanted.interpolation, "normalise": normalise}
        object.__setattr__(self, "data", data.model_copy(update=seen))  # frozen to all but its own validation
        return self

    @model_validator(mode="after")
    def _domains_are_sources(self) -> Recipe:
        """Write into the backbone's section which domains its batch norms are of, as what tests it may name other data."""
        encoder, sources = self.method.encoder, tuple(source.called for source in self.data.sources)
        if encoder.domain_norm != "shared" and sources and encoder.domains != sources:
            if encoder.domains:
                raise CrossreidError(
                    f"method.backbone.domains are {', '.join(encoder.domains)}, but the sources of data are {', '.join(sources)}. "
                    "Leave them out"
                )
            object.__setattr__(self, "method", with_encoder(self.method, domains=sources))
        if encoder.domain_norm != "shared" and self.training.compile:
            raise CrossreidError(
                f"training.compile does not know batch norm by domain, but method.backbone.domain_norm is {encoder.domain_norm}. "
                "Set one of them back"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        self.method.check_data(self.data)
        if self.start_from and isinstance(self.method, ViewDistillationOptions) and self.method.start != "weights":
            raise CrossreidError(f"start_from, and method.start is {str(self.method.start)!r}: expected one of them")
        if self.start_encoder and self.start_from is None:
            raise CrossreidError(
                f"start_encoder is {self.start_encoder}, but start_from names no run that it would be of"
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


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, or of that name among those of the package, with `key.key=value` overrides applied.

    Values of overrides are YAML.

    Raises:
        RecipeError: no such file, no YAML mapping, an unknown key or an impossible value, named.
    """
    return make_recipe(_read_yaml(recipe_file(Path(path))), overrides, source=str(path))


def recipe_of_run(folder: Path) -> Recipe:
    """The recipe that a run's folder keeps: what it was trained by.

    Runs from before `data.normalise` saw ImageNet's mean and deviation whatever their weights wanted, and keep them; that
    is warned of where it was not what they wanted.

    Raises:
        RecipeError: the folder keeps none, or one that is damaged.
    """
    path = folder / "recipe.yaml"
    given = _read_yaml(path)
    recipe = make_recipe(as_it_was(given), source=str(path))
    if has_pixels(given):
        return recipe
    wanted = pixels_of(recipe.method.encoder).normalisation
    if wanted != IMAGENET:
        warnings.warn(
            f"{folder} was trained with {IMAGENET}, as all runs were at the time, and is used so; the weights of "
            f"{recipe.method.encoder.name} were trained with {wanted}. A new run will follow them.",
            stacklevel=2,
        )
    return recipe


def pixels_as_text(recipe: Recipe) -> str:
    """One line: how images are resized and normalised, and whether the backbone's weights were trained with such."""
    data, encoder = recipe.data, recipe.method.encoder
    wanted = pixels_of(encoder)
    seen = f"images of {data.height} x {data.width} pixels, {data.resizing}, {data.normalisation}"
    if encoder.weights == "none":
        return seen
    if data.normalisation == wanted.normalisation:
        return f"{seen}, as for the weights of {encoder.name}"
    return f"{seen}, though the weights of {encoder.name} were trained with {wanted.normalisation}"


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        raise RecipeError(f"recipe {path} not found. Expected a YAML file.")
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:  # YamlError, or no UTF-8
        raise RecipeError(f"recipe {path} is no valid YAML: {error}.") from error


def make_recipe(given: Any, overrides: Sequence[str] = (), *, source: str = "recipe") -> Recipe:
    """A recipe from a mapping, with overrides; errors name `source`."""
    if not isinstance(given, dict):
        raise RecipeError(
            f"{source}: expected a mapping of sections ({', '.join(Recipe.model_fields)}), found {shown(given)}."
        )
    merged = with_numbers(given)
    try:
        if "data" in merged:  # before the overrides, which name keys of one section
            merged["data"] = with_names(one_section(merged["data"]))
    except CrossreidError as error:
        raise RecipeError(f"{source}: {error}") from error
    if any(override.lstrip().startswith(SIZING) for override in overrides):
        forget_filled_sizes(merged)
    for override in overrides:
        apply_override(merged, override)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{source}: {line}" for line in explained(error, merged, Recipe))) from error


def teacher_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the teacher's run: `recipe` with the changes of its `teacher` section, without a teacher of its own.

    A teacher sees all images of a set, and starts from its backbone's weights, unless that section says otherwise. What students
    start from is theirs alone.
    """
    given = recipe.model_dump(mode="json")
    forget_filled_sizes(given)
    changes = given.pop("teacher")
    given.pop("generations")
    given.pop("start_from")
    given.pop("start_encoder")
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
