"""What every section of a recipe has in common: typed, frozen, and refusing what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values at any depth by their dotted keys, tuples as lists; a section without keys is left out. Sections in a list that are
    each `called` something go by that.
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
    """A section of a recipe; each section is defined beside what it configures."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class SettingOptions(Options):
    """Options that start from a named setting: what `settings` says, where a recipe does not say otherwise.

    A class gives `setting` the names it has as type, and one of them as default.
    """

    settings: ClassVar[dict[str, dict[str, Any]]] = {}

    setting: str

    @classmethod
    def starting_values(cls, setting: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What options start from in a setting; `given` is what a recipe says."""
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
    """Settings of a published method: this project's, the paper's to the letter, its authors' release's."""

    setting: Literal["crossreid", "paper", "official"] = Field(
        "crossreid", description="Named setting that all other keys of the method start from."
    )
