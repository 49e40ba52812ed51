"""The base of every section of a recipe: typed, frozen, and rejecting unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested values to dotted keys, with tuples as lists; empty sections are left out. Sections in a list that
    are each `called` something are keyed by that name.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        elif (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(one, Mapping) and "called" in one for one in value)
        ):
            flat |= dotted({one["called"]: one for one in value}, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


class Options(BaseModel):
    """A section of a recipe; each is defined beside what it configures."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class SettingOptions(Options):
    """Options that start from a named setting: keys that a recipe leaves out take the values in `settings`.

    A class declares the names as the type of `setting`, and one of them as its default.
    """

    settings: ClassVar[dict[str, dict[str, Any]]] = {}

    setting: str

    @classmethod
    def starting_values(cls, setting: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the starting values of a setting; `given` is the recipe's section."""
        return cls.settings.get(setting, {})

    @model_validator(mode="before")
    @classmethod
    def _start_from_setting(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        start = cls.starting_values(str(given.get("setting", cls.model_fields["setting"].default)), given)
        merged = {**start, **given}
        for section, values in start.items():
            own = given.get(section)
            if isinstance(own, Options):
                own = own.model_dump(exclude_unset=True)
            if isinstance(values, dict) and isinstance(own, dict):
                merged[section] = {**values, **own}
        return merged


class PublishedSettingOptions(SettingOptions):
    """Settings of a published method: this project's, exactly the paper's, and that of its authors' release."""

    setting: Literal["crossreid", "paper", "official"] = Field(
        "crossreid", description="Named setting that all other keys of the method start from."
    )
