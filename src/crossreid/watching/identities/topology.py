"""The topology of cameras (`topology.yaml`): which ones people can walk between, how fast, and which views overlap.

    cameras: [gate, hall, yard, court]
    links:
      - between: [gate, hall]     # both ways
        seconds: [5, 60]          # from leaving one view to entering the other
      - from: hall                # one way
        to: yard
        seconds: [3, null]        # as late as may be
      - between: [yard, court]
        overlap: true             # somebody may be in both views at once
    unnamed: never                # of pairs without a link; or the seconds after which they are allowed (default 0)
    returns: [0, null]            # seconds from leaving a view to coming back to it
    clock_error: 0.5              # seconds by which the cameras' clocks may differ

`Limits` determines for many identities at once whether each can be the one seen now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from crossreid.errors import CrossreidError
from crossreid.options import Options
from crossreid.runs.yaml_text import YamlError, read_yaml

_Seconds = Annotated[float, Field(ge=0)]


def _in_order(span: tuple[float, float | None]) -> tuple[float, float | None]:
    if span[1] is not None and span[1] < span[0]:
        raise ValueError(f"expected [min, max] with min up to max, found [{span[0]:g}, {span[1]:g}]")
    return span


Span = Annotated[tuple[_Seconds, _Seconds | None], AfterValidator(_in_order)]


class Link(Options):
    """Two cameras that people can walk between: `between` both ways, or `from` one `to` the other."""

    model_config = ConfigDict(populate_by_name=True)

    between: tuple[str, str] | None = Field(None, description="Two cameras, both ways.")
    start: str | None = Field(None, alias="from", description="The camera whose view is left.")
    end: str | None = Field(None, alias="to", description="The camera whose view is entered.")
    seconds: Span = Field((0.0, None), description="Least and most seconds on the way; null: no upper limit.")
    overlap: bool = Field(False, description="Whether someone may be in both views at once.")

    @model_validator(mode="after")
    def _has_two_ends(self) -> Link:
        if (self.between is None) == (self.start is None or self.end is None) or (self.start is None) != (
            self.end is None
        ):
            raise ValueError("expected either `between: [A, B]`, or `from: A` and `to: B`")
        if self.overlap and self.between is None:
            raise ValueError("views overlap both ways; write `between: [A, B]`")
        if len(set(self.ends)) == 1:
            raise ValueError(f"{self.ends[0]!r} is linked to itself; use `returns` for coming back to the same view")
        return self

    @property
    def ends(self) -> tuple[str, str]:
        """The camera that is left and the one that is entered."""
        if self.between is not None:
            return self.between
        return str(self.start), str(self.end)

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """(left, entered), once or both ways."""
        return (self.ends, self.ends[::-1]) if self.between is not None else (self.ends,)


class Topology(Options):
    """The content of `topology.yaml`. The default only excludes being in two places at once."""

    cameras: tuple[str, ...] = Field(
        (), description="Names of all cameras; links may name no others. Empty: all named in links."
    )
    links: tuple[Link, ...] = ()
    unnamed: _Seconds | Literal["never"] = Field(
        0.0, description="For pairs without a link: least seconds, or `never`."
    )
    returns: Span = Field((0.0, None), description="Seconds from leaving a view to coming back to it.")
    clock_error: _Seconds = Field(0.0, description="Seconds by which the cameras' clocks may differ.")

    @model_validator(mode="after")
    def _is_consistent(self) -> Topology:
        ways: set[tuple[str, str]] = set()
        for link in self.links:
            for name in link.ends:
                if self.cameras and name not in self.cameras:
                    raise ValueError(f"links: camera {name!r} is not one of cameras ({', '.join(self.cameras)})")
            for way in link.ways:
                if way in ways:
                    raise ValueError(f"links: {way[0]} to {way[1]} is given twice")
                ways.add(way)
        return self

    def may_overlap(self, one: str, other: str) -> bool:
        """Whether someone may be in the views of both cameras at once; True for one camera."""
        return one == other or any(link.overlap and one in link.ends and other in link.ends for link in self.links)

    def check_cameras(self, names: Sequence[str]) -> None:
        """Raise `CrossreidError` for a camera of the topology that is not watched, most likely a misspelt name."""
        told = self.cameras or tuple(dict.fromkeys(name for link in self.links for name in link.ends))
        for name in told:
            if name not in names:
                raise CrossreidError(
                    f"topology: camera {name!r} is not watched; watched are {', '.join(names)}. Correct the name, or leave it out."
                )


def read_topology(path: Path) -> Topology:
    """The topology of a YAML file. Raises `CrossreidError` naming the file, the key and what is expected there."""
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CrossreidError(f"{path} cannot be read ({error.strerror}). Expected a topology in YAML.") from error
    except (YamlError, UnicodeDecodeError) as error:
        raise CrossreidError(f"{path} is not YAML: {error}.") from error
    if not isinstance(content, dict):
        raise CrossreidError(
            f"{path}: expected keys {', '.join(Topology.model_fields)}, found {type(content).__name__}."
        )
    try:
        return Topology.model_validate(content)
    except ValidationError as error:
        raise CrossreidError(f"{path}: {_explained(error, content)}") from error


def _explained(error: ValidationError, content: dict[str, Any]) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(
        str(part) for part in fault["loc"] if part not in ("constrained-float", "float", "literal['never']")
    )
    if fault["type"] == "extra_forbidden":
        keys = Link.model_json_schema()["properties"] if where.startswith("links.") else Topology.model_fields
        return f"{where}: no such key. Expected {', '.join(keys)}."
    message = fault["msg"].removeprefix("Value error, ")
    if where == "unnamed":
        message = "expected `never` or seconds from 0"
    found = "" if fault["type"] == "value_error" else f", found {fault['input']!r}"[:100]
    return f"{where + ': ' if where else ''}{message}{found}."


@dataclass(frozen=True, eq=False, slots=True)
class Presences:
    """N presences, each of a group (an identity): camera codes, first and last times, groups from 0, all `(N,)`."""

    cameras: np.ndarray
    first: np.ndarray
    last: np.ndarray
    groups: np.ndarray


class Limits:
    """A topology as matrices over camera codes, from 0 in the order of `names`.

    continues: seconds that someone may be out of sight in one view without having left it.
    """

    def __init__(self, topology: Topology, names: Sequence[str], continues: float = 0.0) -> None:
        count = len(names)
        self._continues = continues
        self._error = topology.clock_error
        never = topology.unnamed == "never"
        self._least = np.full((count, count), 0.0 if never else float(topology.unnamed))
        self._most = np.full((count, count), -math.inf if never else math.inf)
        self._overlap = np.eye(count, dtype=bool)
        code = {name: number for number, name in enumerate(names)}
        for link in topology.links:
            for left, entered in link.ways:
                if left in code and entered in code:
                    way = code[left], code[entered]
                    self._least[way], self._most[way] = link.seconds[0], _most(link.seconds)
                    self._overlap[way] = link.overlap
        np.fill_diagonal(self._least, topology.returns[0])
        np.fill_diagonal(self._most, _most(topology.returns))

    def possible(self, seen: Presences, count: int, camera: int, start: float, end: float) -> np.ndarray:
        """Which of `count` groups can be in a camera's view from `start` to `end`, between all of their presences.

        A group can be there if it is not in another, non-overlapping view at the same time; if every way from and to
        another presence takes at least the link's minimum time; and if some link leads here, within its maximum time,
        from the presences just before (those that reach into the latest one), and likewise from here to those just
        after. Someone seen at the same time in an overlapping view, or in this one, came through that view.
        """
        first, last, groups, error = seen.first, seen.last, seen.groups, self._error
        at_once = (first <= end - error) & (last >= start + error)
        before = ~at_once & (first + last <= start + end)
        bad = at_once & ~self._overlap[seen.cameras, camera]
        here = seen.cameras == camera
        reached = np.zeros((2, count), dtype=bool)
        there = np.zeros((2, count), dtype=bool)
        ways = (
            (before, start - last, self._least[seen.cameras, camera], self._most[seen.cameras, camera], last, first),
            (
                ~at_once & ~before,
                first - end,
                self._least[camera, seen.cameras],
                self._most[camera, seen.cameras],
                -first,
                -last,
            ),
        )  # for later ones, time runs backwards
        for side, (rows, gap, least, most, near, far) in enumerate(ways):
            continued = here & (gap <= self._continues)
            bad |= rows & (gap + error < least) & ~continued & (most >= 0)
            nearest = np.full(count, -math.inf)
            np.maximum.at(nearest, groups[rows], near[rows])
            closest = rows & (near == nearest[groups])
            begun = np.full(count, math.inf)
            np.minimum.at(begun, groups[closest], far[closest])
            linked = rows & (near >= begun[groups]) & ((gap - error <= most) | continued)
            reached[side, groups[linked]] = True
            there[side, groups[rows]] = True
        met = np.zeros(count, dtype=bool)
        met[groups[at_once]] = True
        possible = met | (reached | ~there).all(axis=0)
        possible[groups[bad]] = False
        return possible


def _most(span: tuple[float, float | None]) -> float:
    return math.inf if span[1] is None else span[1]
