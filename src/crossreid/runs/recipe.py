"""The recipe: everything that a run depends on, as validated YAML.

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

SIZING = ("data.height", "data.width", "method.")  # overrides that may change the size that an encoder is built for


class Recipe(Options):
    """What to train, on which data, how, and how it is scored."""

    data: DataOptions = Field(description="The data set, and how it is read.")
    method: Annotated[SerializeAsAny[MethodOptions], BeforeValidator(method_options)] = Field(
        description="The method and its network."
    )
    training: TrainingOptions = Field(TrainingOptions(), description="The loop, its optimiser and its schedule.")
    evaluation: EvaluationOptions = Field(EvaluationOptions(), description="How embeddings are computed and compared.")
    start_from: Path | None = Field(
        None,
        description="Where training starts from: a run of any method on the same backbone, a checkpoint, or a file of "
        "backbone weights. Heads that do not fit, or belong to other identities, are re-initialised.",
    )
    start_encoder: Origin | None = Field(
        None,
        description="The encoder of start_from's network that every encoder copies; null for the one of the same name, "
        "if both networks have the same encoders, else the shared one.",
    )
    teacher: dict[str, Any] | None = Field(
        None,
        description="Changes to this recipe for the teacher's run, by section; `crossreid train` then trains "
        "OUT/teacher and OUT/student. null for one run.",
    )
    generations: int = Field(
        1, ge=1, le=20, description="Number of students trained in turn if there is a teacher; each teaches the next."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_section_of_data(cls, given: Any) -> Any:
        return {**given, "data": one_section(given["data"])} if isinstance(given, dict) and "data" in given else given

    @model_validator(mode="before")
    @classmethod
    def _start_from_of_training(cls, given: Any) -> Any:
        """Accept `training.start_from`, where many expect the key, as `start_from`."""
        training = given.get("training") if isinstance(given, dict) else None
        if not isinstance(training, dict) or "start_from" not in training:
            return given
        if given.get("start_from") is not None:
            raise CrossreidError("training.start_from and start_from are the same key: expected one of them")
        rest = {key: value for key, value in training.items() if key != "start_from"}
        return {**given, "training": rest, "start_from": training["start_from"]}

    @model_validator(mode="after")
    def _encoders_follow_size(self) -> Recipe:
        """Write into `method` the image size that its encoders are built for, if one depends on it."""
        method = self.method.at_size((self.data.height, self.data.width))
        object.__setattr__(self, "method", method)  # frozen except during validation
        return self

    @model_validator(mode="after")
    def _pixels_follow_weights(self) -> Recipe:
        """Write into `data` how images are resized and normalised, if it leaves that to the backbone's weights.

        So a stored recipe has the numbers, whatever later versions say about the backbone.
        """
        data = self.data
        normalise = data.normalise
        if normalise.mean is not None and data.interpolation is not None:
            return self
        wanted = pixels_of(self.method.encoder)
        if normalise.mean is None:
            normalise = NormaliseOptions(mean=wanted.normalisation.mean, std=wanted.normalisation.std)
        seen = {"interpolation": data.interpolation or wanted.interpolation, "normalise": normalise}
        object.__setattr__(self, "data", data.model_copy(update=seen))  # frozen except during validation
        return self

    @model_validator(mode="after")
    def _domains_are_sources(self) -> Recipe:
        """Write the domains of the batch norms into the backbone's section, because a test may name other data."""
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
                f"training.compile does not support batch norm by domain, but method.backbone.domain_norm is {encoder.domain_norm}. "
                "Reset one of them"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        self.method.check_data(self.data)
        if self.start_from and isinstance(self.method, ViewDistillationOptions) and self.method.start != "weights":
            raise CrossreidError(f"start_from, and method.start is {str(self.method.start)!r}: expected one of them")
        if self.start_encoder and self.start_from is None:
            raise CrossreidError(f"start_encoder is {self.start_encoder}, but start_from names no run")
        if self.teacher is not None:
            if not isinstance(self.method, ViewDistillationOptions):
                raise CrossreidError(f"`teacher` is for view_distillation, but the method is {self.method.name}")
            if self.method.teacher is not None:
                raise CrossreidError("`teacher` and method.teacher: expected one of them")
            teacher_recipe(self)
        return self

    def as_yaml(self) -> str:
        """Return the whole recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Load the recipe in a YAML file, or the package's recipe of that name, with `key.key=value` overrides applied.

    Values of overrides are YAML.

    Raises:
        RecipeError: the file is missing or no YAML mapping, or a key is unknown or its value invalid; it is named.
    """
    return make_recipe(_read_yaml(recipe_file(Path(path))), overrides, source=str(path))


def recipe_of_run(folder: Path) -> Recipe:
    """Return the recipe stored in a run's folder, by which it was trained.

    Runs from before `data.normalise` used ImageNet's mean and deviation whatever their weights expected, and keep them;
    a warning says so if the weights expected others.

    Raises:
        RecipeError: the folder has no recipe, or a damaged one.
    """
    path = folder / "recipe.yaml"
    given = _read_yaml(path)
    recipe = make_recipe(as_it_was(given), source=str(path))
    if has_pixels(given):
        return recipe
    wanted = pixels_of(recipe.method.encoder).normalisation
    if wanted != IMAGENET:
        warnings.warn(
            f"{folder} was trained with {IMAGENET}, as all runs were then, and is used that way; the weights of "
            f"{recipe.method.encoder.name} were trained with {wanted}. New runs follow the weights.",
            stacklevel=2,
        )
    return recipe


def pixels_as_text(recipe: Recipe) -> str:
    """Return a line on how images are resized and normalised, and whether the backbone's weights were trained that way."""
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
    except ValueError as error:  # YamlError, or not UTF-8
        raise RecipeError(f"recipe {path} is not valid YAML: {error}.") from error


def make_recipe(given: Any, overrides: Sequence[str] = (), *, source: str = "recipe") -> Recipe:
    """Make a recipe from a mapping, with overrides; errors name `source`."""
    if not isinstance(given, dict):
        raise RecipeError(
            f"{source}: expected a mapping of sections ({', '.join(Recipe.model_fields)}), found {shown(given)}."
        )
    merged = with_numbers(given)
    try:
        if "data" in merged:  # before the overrides, which name keys of a single section
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
    """Return the recipe of the teacher's run: `recipe` with the changes in its `teacher` section, and no teacher
    itself.

    A teacher sees all images of a set and starts from its backbone's weights, unless that section says otherwise. Where
    the students start from is theirs alone.
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
