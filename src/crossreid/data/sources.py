"""Several data sets at once: what a recipe says about each source, and one `data` section made from several.

A recipe may write `data` as a list of sections, or as one section with `sources`; the latter is stored.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crossreid.data.levels import Levels
from crossreid.data.normalisation import Triple
from crossreid.errors import CrossreidError
from crossreid.options import Options

SEVERAL = "several"  # stands for the data set's name if there are several sources
MEAN = "mean"  # the name of scores over all sources, so no source may have it


class NormaliseOptions(Options):
    mean: Triple | None = Field(
        None,
        description="Mean subtracted from red, green and blue, each in [0, 1]; null for what the backbone's "
        "weights expect.",
    )
    std: Triple | None = Field(None, description="Deviation to divide by; null for what the backbone's weights expect.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise CrossreidError("expected mean and std, or neither of them; found one")
        if self.std is not None and min(self.std) <= 0:
            raise CrossreidError(f"std is {list(self.std)}, expected three numbers above 0")
        return self


class SourceOptions(Options):
    called: str = Field(
        description="Name of the source in scores and folders; by default that of its reader or folder.",
        json_schema_extra={"filled_in": True},  # before the recipe is read
    )
    name: str = Field(description="Data set of the source, as data.name.")
    root: Path = Field(description="Folder of the source.")
    options: dict[str, Any] = Field({}, description="Options of the source's reader.")
    weight: float = Field(1.0, gt=0, description="Share of the identities drawn, relative to the other sources.")
    levels: Levels | None = Field(None, description="Grey levels of the source's 16-bit images; null for data.levels.")
    normalise: NormaliseOptions | None = Field(
        None, description="Mean and deviation of the source; null for data.normalise."
    )
    balance: Literal["modality", "none", "auto"] | None = Field(
        None,
        description="As data.sampler.balance: `none` suits a source of one modality; null for data.sampler.balance.",
    )

    @field_validator("called")
    @classmethod
    def _is_a_name(cls, called: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9_-]+", called) is None or called == MEAN:
            raise CrossreidError(f"expected letters, digits, - and _, and not {MEAN!r}; found {called!r}")
        return called


OF_A_SOURCE = tuple(SourceOptions.model_fields)


def one_section(given: Any) -> Any:
    """Turn a `data` that lists several sections into one section with `sources`; return anything else unchanged.

    Keys of the batch, its size, augmentation and sampler, may be in any of the sections, and in several if they agree.

    Raises:
        CrossreidError: an empty list, an element that is not a section, or sections that disagree.
    """
    if not isinstance(given, list | tuple):
        return given
    if not given:
        raise CrossreidError("data is an empty list, expected one section per data set")
    common: dict[str, Any] = {}
    sources = []
    for position, section in enumerate(given):
        if not isinstance(section, Mapping):
            raise CrossreidError(f"data[{position}] is {section!r}, expected a section with name and root")
        sources.append({key: section[key] for key in OF_A_SOURCE if key in section})
        _join(common, {key: value for key, value in section.items() if key not in OF_A_SOURCE}, "data")
    return {**common, "sources": sources}


def _join(common: dict[str, Any], own: Mapping[str, Any], place: str) -> None:
    for key, value in own.items():
        if isinstance(value, Mapping) and isinstance(common.get(key), dict):
            _join(common[key], value, f"{place}.{key}")
        elif key in common and common[key] != value:
            raise CrossreidError(
                f"{place}.{key} is {common[key]!r} for one data set and {value!r} for another; a batch has images of all, so give it "
                f"once. Only {', '.join(OF_A_SOURCE)} are per data set"
            )
        else:
            common[key] = dict(value) if isinstance(value, Mapping) else value


def with_names(given: Any) -> Any:
    """Complete a `data` section with `sources`: a name for each, and placeholders for the data set's name and root.

    Raises:
        CrossreidError: two sources have one name, or a data set is given beside the sources.
    """
    if not isinstance(given, Mapping) or not given.get("sources") or not isinstance(given["sources"], list | tuple):
        return given
    listed = [source.model_dump() if isinstance(source, SourceOptions) else source for source in given["sources"]]
    if not all(isinstance(source, Mapping) for source in listed):
        return given  # reported by the check of the type
    if given.get("name", SEVERAL) != SEVERAL or given.get("options"):
        raise CrossreidError(
            "`sources` beside name, root or options of one data set; expected only sources, each with its own"
        )
    readers = Counter(str(source.get("name")) for source in listed)
    sources = []
    for source in listed:
        reader, root = str(source.get("name")), Path(str(source.get("root", "")))
        place = re.sub(r"[^A-Za-z0-9_-]+", "-", root.stem if root.suffix == ".csv" else root.name).strip("-")
        sources.append(
            {**source, "called": source.get("called") or (reader if readers[reader] == 1 else place or reader)}
        )
    names = [str(source["called"]) for source in sources]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise CrossreidError(f"two sources are called {twice[0]!r}; distinguish them with `called`")
    roots = [str(source["root"]) for source in sources if source.get("root") is not None]
    return {**given, "name": SEVERAL, "options": {}, "root": common_root(roots), "sources": sources}


def common_root(roots: Sequence[str]) -> str:
    """Return the folder that contains all; the current one if they have none in common."""
    try:
        return os.path.commonpath(roots) or "."
    except ValueError:  # no roots, or relative and absolute ones
        return "."


def same_identities(one: Any, other: Any) -> bool:
    """Return whether two stored `data` sections name the same data sets, read alike, and so the same identities."""
    keys = ("name", "root", "options")
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    if any(one.get(key) != other.get(key) for key in keys):
        return False
    return _sources_kept(one) == _sources_kept(other)


def _sources_kept(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what distinguishes the sources of a section; for a damaged one, as far as possible."""
    listed = data.get("sources")
    sources = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list | tuple) else []
    return [{key: source.get(key) for key in ("called", "name", "root", "options")} for source in sources]
